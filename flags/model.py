"""Flags of the network."""

from absl import flags

from lib.config import Config

flags.DEFINE_string(
    "weights",
    Config.weights,
    "initial weights of the backbone: imagenet, drawn (embedded; alpha 0.35), none, or the path of"
    " a Keras weight file without top",
)
flags.DEFINE_string(
    "from_run",
    Config.from_run,
    "folder of another run: fine-tune the network that its head phase ended with, in place of"
    " training a head here; its evaluation is epoch 0",
)
flags.DEFINE_float("alpha", Config.alpha, "width of MobileNetV2, 1.0 being the paper's")
flags.register_validator(
    "alpha", lambda alpha: 0.1 <= alpha <= 2.0, message="expected a width from 0.1 to 2.0"
)
flags.DEFINE_float("dropout", Config.dropout, "part of the features dropped before the head")
flags.register_validator(
    "dropout", lambda rate: 0.0 <= rate < 1.0, message="expected a rate from 0 to below 1"
)
flags.DEFINE_enum(
    "engine",
    Config.engine,
    ["auto", "plain"],
    "how the network is computed: the fastest way that equals it (auto), or as Keras has it"
    " (plain), for comparison",
)
