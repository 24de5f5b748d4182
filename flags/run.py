"""Flags of the run as a whole: where it lives, what it does now, what it may cost."""

from absl import flags

from lib.config import Config

PHASE = flags.DEFINE_string(
    "phase",
    "all",
    "what to do: all phases and the test set; the phases up to that of this name; or evaluate: the"
    " test set only, from the best checkpoint",
)
flags.DEFINE_string(
    "workdir",
    Config.workdir,
    "folder of the run; the same command again resumes it [runs/<dataset>]",
)
flags.DEFINE_integer(
    "seed",
    Config.seed,
    "everything random follows from it",
    lower_bound=0,
    upper_bound=2**32 - 1,
)
flags.DEFINE_integer(
    "threads",
    Config.threads,
    "processor threads; results do not depend on their number [0: one per core]",
    lower_bound=0,
)
flags.DEFINE_integer(
    "workers",
    Config.workers,
    "processes that train together on this machine, a power of two, as many as there are slices at"
    " most; results do not depend on their number. On several machines they are started by a"
    " cluster manager, with TF_CONFIG or by srun",
    lower_bound=1,
)
flags.DEFINE_integer(
    "worker_wait",
    Config.worker_wait,
    "seconds to wait at the start for workers that have not come",
    lower_bound=1,
)
flags.DEFINE_enum(
    "exchange",
    Config.exchange,
    ["exact", "fast"],
    "how the workers' gradients are summed: in one order, so that results do not depend on the"
    " number of workers; or as TensorFlow finds fastest",
)
flags.DEFINE_integer(
    "checkpoint_every",
    Config.checkpoint_every,
    "steps between checkpoints inside an epoch; one more is written at each epoch's end",
    lower_bound=1,
)
flags.DEFINE_integer(
    "keep_checkpoints",
    Config.keep_checkpoints,
    "how many of the newest checkpoints are kept, besides the best; two at least, so that there is"
    " always one to go back to",
    lower_bound=2,
)
flags.DEFINE_integer(
    "log_every",
    Config.log_every,
    "steps between two points of the curves within an epoch, in TensorBoard",
    lower_bound=1,
)
flags.DEFINE_multi_string(
    "plugin",
    list(Config.plugin),
    "a Python file that registers more operations, losses, measures or schedules; may be given"
    " several times",
)
flags.DEFINE_boolean(
    "skip_nonfinite",
    Config.skip_nonfinite,
    "leave out an update whose loss or gradient is infinite or not a number, instead of stopping;"
    " ten in a row stop the run still",
)
flags.DEFINE_boolean(
    "histograms",
    Config.histograms,
    "show in TensorBoard, after each epoch, how the trained weights and their gradients are"
    " distributed",
)
FIND_RATE = flags.DEFINE_string(
    "find_rate",
    None,
    "the name of a phase: do not train, but try rising learning rates on it and suggest one;"
    " nothing of the run changes",
)
DRY_RUN = flags.DEFINE_boolean(
    "dry_run",
    False,
    "do not train, but say what would be: the layers, where the network is cut, what is folded, and"
    " how long an epoch takes; nothing is written",
)
TEST_DIR = flags.DEFINE_string(
    "test_dir", None, "with --phase=evaluate: another set, a folder with one folder per class"
)
AGAINST = flags.DEFINE_string(
    "against",
    None,
    "with --phase=evaluate: the folder of another run, to be compared on the same images",
)
TTA = flags.DEFINE_string(
    "tta",
    None,
    "with --phase=evaluate: measure, too, the mean over an image and its mirror image (flip), or"
    " over this many views of it",
)
ENSEMBLE = flags.DEFINE_list(
    "ensemble",
    [],
    "with --phase=evaluate: folders of other runs; measure, too, the mean of this run and these",
)
CALIBRATE = flags.DEFINE_boolean(
    "calibrate",
    False,
    "with --phase=evaluate: find on the validation set the temperature with which probabilities say"
    " how often they are right; predictions and exports then use it",
)
flags.register_multi_flags_validator(
    ["phase", "find_rate", "workers"],
    lambda given: (
        given["workers"] == 1 or (given["phase"] != "evaluate" and given["find_rate"] is None)
    ),
    message="--workers is for training",
)
for _only in (TEST_DIR, AGAINST, TTA, ENSEMBLE, CALIBRATE):
    flags.register_multi_flags_validator(
        ["phase", _only.name],
        lambda given, name=_only.name: not given[name] or given["phase"] == "evaluate",
        message=f"--{_only.name} is for --phase=evaluate",
    )
