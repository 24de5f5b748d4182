"""Flags of the network."""

from absl import flags

from lib.config import Config

flags.DEFINE_string(
    "backbone",
    Config.backbone,
    "the network below the head: a name from the list below, mobilenet_v2(alpha=0.35), or the path"
    " of a .keras file",
)
flags.DEFINE_enum(
    "scaling",
    Config.scaling,
    ["none", "tf", "torch", "caffe"],
    "what a backbone of your own takes: levels from 0 to 255 (none), -1 to 1 (tf), ImageNet's mean"
    " and deviation taken out (torch), or the mean alone, blue first (caffe)",
)
flags.DEFINE_string(
    "weights",
    Config.weights,
    "initial weights of the backbone: imagenet, drawn (embedded; mobilenet_v2 of alpha 0.35), none,"
    " or the path of a Keras weight file without top; a .keras file has its own",
)
flags.DEFINE_string(
    "from_run",
    Config.from_run,
    "folder of another run: begin with the network that a phase of it ended with, in place of"
    " training that phase and those before it here; its evaluation is epoch 0",
)
flags.DEFINE_string("from_phase", Config.from_phase, "which phase of --from_run that is")
flags.DEFINE_float("alpha", Config.alpha, "width of a MobileNet, 1.0 being the paper's")
flags.register_validator(
    "alpha", lambda alpha: 0.1 <= alpha <= 2.0, message="expected a width from 0.1 to 2.0"
)
flags.DEFINE_enum(
    "head_init",
    Config.head_init,
    ["glorot_uniform", "zeros"],
    "the first weights of the head: drawn at random, of which a short run keeps a part to its end,"
    " or zeros",
)
flags.DEFINE_float("dropout", Config.dropout, "part of the features dropped before the head")
flags.register_validator(
    "dropout", lambda rate: 0.0 <= rate < 1.0, message="expected a rate from 0 to below 1"
)
flags.DEFINE_enum(
    "engine",
    Config.engine,
    ["auto", "plain"],
    "how the network is computed: the fastest way that equals it (auto), or as Keras does"
    " (plain), for comparison",
)
flags.DEFINE_string(
    "loss", Config.loss, "what training makes smaller: cross_entropy(label_smoothing=0.1), ..."
)
flags.DEFINE_string(
    "class_weights",
    Config.class_weights,
    "how much the images of each class count in the loss: none, balanced, or cats:1,dogs:2",
)
flags.DEFINE_float(
    "ema",
    Config.ema,
    "evaluate, predict and export with an exponential moving average of the trained weights, which"
    " keeps this part of itself at each step, such as 0.999 [0: with the weights themselves]",
)
flags.register_validator(
    "ema", lambda decay: 0.0 <= decay < 1.0, message="expected a part from 0 to below 1"
)
