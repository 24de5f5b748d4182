"""Flags of the phases of training: which there are, and a group of flags for each of them.

The flags of a group begin with the name of its phase, so they can be defined only once the list of
phases is known: `define` looks for it in the arguments, presets included.
"""

import dataclasses
from collections.abc import Sequence

from absl import flags

from lib.config import Config, Phase, default_phase, require_phase_names
from lib.errors import UserError

FLAGS = flags.FLAGS

PHASES = flags.DEFINE_list(
    "phases",
    [phase.name for phase in Config.phases],
    "the phases of training in their order; each has flags of its own, --NAME_epochs and so on",
)

_FINE_TUNE_AT = "fine_tune_at"  # another name of --finetune_thaw

_HELP = {
    "epochs": "epochs of the {} phase, at most",
    "thaw": "what of the backbone is trained in the {} phase: none, all, the first trained layer by"
    " index or by name, a block such as block_13, or the top share of the layers such as 35%",
    "optimizer": "Keras optimizer of the {} phase, with any of its options:"
    " adamw(weight_decay=0.05, global_clipnorm=1)",
    "learning_rate": "learning rate of the {} phase, the highest one where it changes",
    "schedule": "course of the learning rate in the {} phase: constant, cosine(warmup=0.1), ...",
    "layer_decay": "updates of a block are scaled by this factor per block below the head in the {}"
    " phase",
    "views": "augmented views of each image whose features are computed once and repeated in turn"
    " in the {} phase, so that further epochs cost less [0: new ones each epoch]",
    "patience": "end the {} phase after this many epochs without a lower validation loss [0: train"
    " all epochs]",
    "restore_best": "end the {} phase with its best weights, of the lowest validation loss",
}


class _ThawParser(flags.ArgumentParser):
    """A layer's index where it is a number, else a word."""

    syntactic_help = "none, all, a layer's index or name, a block, or a share such as 35%"

    def parse(self, argument: str | int) -> int | str:
        try:
            return int(argument)
        except ValueError:
            return argument


def define(arguments: Sequence[str]) -> None:
    """Defines the flags of the phases that the arguments name, in place of those defined before.

    Args:
        arguments: of the command line.

    Raises:
        UserError: what they name cannot be a list of phases.
        flags.Error: a preset cannot be read.
    """
    for flag in list(FLAGS.flags_by_module_dict()[__name__]):
        if flag.name != PHASES.name:
            delattr(FLAGS, flag.name)
    for name in named(arguments):
        _define_group(default_phase(name))


def named(arguments: Sequence[str]) -> list[str]:
    """The phases that the arguments name, those of the default where they name none."""
    text = ",".join(PHASES.default)
    rest = iter(FLAGS.read_flags_from_files(list(arguments)))
    for argument in rest:
        name, equals, value = argument.partition("=")
        if argument == "--":
            break
        if name in ("--phases", "-phases"):
            text = value if equals else next(rest, "")
    names = [name.strip() for name in text.split(",")]
    require_phase_names(names)
    return names


def phases(run: Sequence[Phase] = (), thaw: int | str = Phase.thaw) -> tuple[Phase, ...]:
    """The phases that the parsed flags add up to.

    Args:
        run: where given, the phases of a run, which stand for the flags that were not set.
        thaw: what a phase of fine-tuning thaws where no flag says it.
    """
    of_run = {phase.name: phase for phase in run}
    names = PHASES.value if PHASES.present or not run else list(of_run)
    return tuple(_phase(of_run.get(name) or _default(name, thaw)) for name in names)


def _default(name: str, thaw: int | str) -> Phase:
    phase = default_phase(name)
    return phase if phase.thaw == "none" else dataclasses.replace(phase, thaw=thaw)


def _phase(base: Phase) -> Phase:
    flag_of = {field: f"{base.name}_{field}" for field in _HELP}
    given = {
        field: FLAGS[flag].value
        for field, flag in flag_of.items()
        if flag in FLAGS and FLAGS[flag].present
    }
    if base.name == "finetune" and _FINE_TUNE_AT in FLAGS and FLAGS[_FINE_TUNE_AT].present:
        given["thaw"] = FLAGS[_FINE_TUNE_AT].value
    phase = dataclasses.replace(base, **given)
    if phase.patience and not phase.epochs and "epochs" in given:
        raise UserError(
            f"--{phase.name}_patience={phase.patience}: the phase has no epochs, so that there is"
            f" nothing to wait for; give --{phase.name}_epochs, or no patience"
        )
    return phase


def _define_group(phase: Phase) -> None:
    default = dataclasses.asdict(phase)

    def name_and_rest(field: str) -> tuple[str, object, str]:
        return f"{phase.name}_{field}", default[field], _HELP[field].format(phase.name)

    flags.DEFINE_integer(*name_and_rest("epochs"), lower_bound=0)
    flags.DEFINE(_ThawParser(), *name_and_rest("thaw"), serializer=flags.ArgumentSerializer())
    flags.DEFINE_string(*name_and_rest("optimizer"))
    flags.DEFINE_float(*name_and_rest("learning_rate"))
    flags.register_validator(
        f"{phase.name}_learning_rate",
        lambda rate: 0.0 < rate < float("inf"),
        message="expected a positive number",
    )
    flags.DEFINE_string(*name_and_rest("schedule"))
    flags.DEFINE_float(*name_and_rest("layer_decay"))
    flags.register_validator(
        f"{phase.name}_layer_decay",
        lambda decay: 0.0 < decay <= 1.0,
        message="expected a factor above 0, 1 at most",
    )
    flags.DEFINE_integer(*name_and_rest("views"), lower_bound=0)
    flags.DEFINE_integer(*name_and_rest("patience"), lower_bound=0)
    flags.DEFINE_boolean(*name_and_rest("restore_best"))
    if phase.name == "finetune":
        flags.DEFINE_alias(_FINE_TUNE_AT, "finetune_thaw")
