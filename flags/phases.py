"""Flags of the two phases of training: how long, with which optimizer, on which layers."""

from absl import flags

from lib.config import PHASES, Config

_TITLES = {"head": "head phase", "finetune": "fine-tuning phase"}

for _phase in PHASES:
    flags.DEFINE_integer(
        f"{_phase}_epochs",
        getattr(Config, f"{_phase}_epochs"),
        f"epochs of the {_TITLES[_phase]}",
        lower_bound=0,
    )
    flags.DEFINE_string(
        f"{_phase}_optimizer",
        getattr(Config, f"{_phase}_optimizer"),
        f"Keras optimizer of the {_TITLES[_phase]}, by name",
    )
    flags.DEFINE_float(
        f"{_phase}_learning_rate",
        getattr(Config, f"{_phase}_learning_rate"),
        f"learning rate of the {_TITLES[_phase]}",
    )
    flags.register_validator(
        f"{_phase}_learning_rate",
        lambda rate: 0.0 < rate < float("inf"),
        message="expected a positive number",
    )
    flags.DEFINE_enum(
        f"{_phase}_schedule",
        getattr(Config, f"{_phase}_schedule"),
        ["constant", "cosine"],
        f"course of the learning rate in the {_TITLES[_phase]}; cosine warms up for a tenth of the"
        " phase and falls to zero",
    )


flags.DEFINE_integer(
    "head_views",
    Config.head_views,
    "augmented views of each picture whose features are computed once and repeated in turn in the"
    " head phase, so that further epochs cost next to nothing [0: new ones each epoch]",
    lower_bound=0,
)


class _LayerParser(flags.ArgumentParser):
    """A layer's index where it is a number, else its name."""

    syntactic_help = "a layer's index or name"

    def parse(self, argument: str | int) -> int | str:
        try:
            return int(argument)
        except ValueError:
            return argument


flags.DEFINE(
    _LayerParser(),
    "fine_tune_at",
    Config.fine_tune_at,
    "the backbone's first layer to be trained in the fine-tuning phase: its index or its name",
    serializer=flags.ArgumentSerializer(),
)
