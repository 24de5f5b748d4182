"""Flags of the data: which images, where they are kept, how they are shown to the network."""

from absl import flags

from lib.config import Config

flags.DEFINE_string(
    "dataset",
    Config.dataset,
    "cats_and_dogs, drawn (needs no network), or a folder: with train/, validation/ and optionally"
    " test/, or with one folder per class",
)
flags.DEFINE_string(
    "data_dir",
    Config.data_dir,
    "where data sets are kept; a folder that already holds the unpacked set is used as it is"
    " [a per-user cache]",
)
flags.DEFINE_string(
    "dataset_url", Config.dataset_url, "a mirror of the cats_and_dogs archive, instead of its own"
)
flags.DEFINE_string(
    "fold",
    Config.fold,
    "cross-validation: 2/5 cuts the training images into five folds, validates on the second and"
    " trains on the others; the validation set is left out, the test set is as ever",
)
flags.DEFINE_enum(
    "bad_images",
    Config.bad_images,
    ["stop", "skip"],
    "what an image that cannot be decoded does: stop the program before the long work, or be left"
    " out and listed in skipped.csv",
)
flags.DEFINE_integer(
    "train_limit", Config.train_limit, "train on the first N images only [all]", lower_bound=1
)
flags.DEFINE_integer(
    "eval_limit",
    Config.eval_limit,
    "validate and test on the first N images only [all]",
    lower_bound=1,
)
flags.DEFINE_integer(
    "cache_mb",
    Config.cache_mb,
    "MiB of decoded images to keep on disk, of all data sets together: those that were not used"
    " for longest go, and images that do not fit are decoded each time they are needed",
    lower_bound=0,
)
flags.DEFINE_integer(
    "memory_mb",
    Config.memory_mb,
    "MiB of features to keep in memory; those that do not fit are computed again as they are"
    " needed, but views that do not are an error",
    lower_bound=0,
)
flags.DEFINE_string(
    "share_features",
    Config.share_features,
    "a folder through which runs on this machine share these features: the first to need them"
    " computes them, which changes no result",
)

flags.DEFINE_integer("batch_size", Config.batch_size, "images per step", lower_bound=1)
flags.DEFINE_integer(
    "slices",
    Config.slices,
    "equal parts into which a batch is cut, a power of two that divides the batch size; each is"
    " computed by itself, so that results depend on their number but not on who computes them [0:"
    " as the run began, a new run with 2, or 1 where the batch size is odd]",
    lower_bound=0,
)
flags.DEFINE_integer(
    "image_size", Config.image_size, "pixels square that the network sees of an image"
)
flags.register_validator(
    "image_size",
    lambda size: 32 <= size <= 1024,
    message="expected 32 to 1024 pixels",
)
flags.DEFINE_integer(
    "source_size",
    Config.source_size,
    "pixels square that images are resized to: the network sees the middle of them, and --augment"
    " takes its pixels from all of them [--image_size]",
    upper_bound=2048,
)
flags.DEFINE_string(
    "augment",
    Config.augment,
    "how training images are varied: operations one after another, such as"
    " flip|rotate(0.2)|color|mixup(0.2); empty for not at all",
)
