"""The backbones that a run can begin with, one record each.

To add one, register a function that builds it, in a file of your own:

    import keras
    from lib.model.backbones import BACKBONES

    @BACKBONES.add(scaling="tf", size=64)
    def small(image_size, weights, width=32):
        '''Three convolutions.'''
        x = images = keras.Input((image_size, image_size, 3))
        for factor in (1, 2, 4):
            x = keras.layers.Conv2D(factor * width, 3, strides=2, use_bias=False)(x)
            x = keras.layers.BatchNormalization()(x)
            x = keras.layers.ReLU()(x)
        return keras.Model(images, x)

    python train.py --plugin=small.py --backbone="small(width=64)" --weights=none

What the function takes with a default is what the flag can set. It returns a functional Keras model
from images to a feature map or to pooled features; `weights` is "imagenet" or None. A network that
is saved already needs no record: `--backbone=FILE.keras`.

Nothing here imports Keras before a network is built: flags have their defaults from here.
"""

import dataclasses
import inspect
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lib.config import Config, backbone_file, setting
from lib.errors import UserError
from lib.specs import Registry, Spec, parse_one

if TYPE_CHECKING:  # a start that is wrong is refused before Keras and TensorFlow are imported
    import keras

SCALINGS = ("none", "tf", "torch", "caffe")


@dataclasses.dataclass(frozen=True)
class Record:
    """What there is to know of a backbone before it is built.

    Attributes:
        scaling: what it takes, see `lib.model.network.scaled`.
        size: side of the images that it was trained on, in pixels.
        thaw: what fine-tuning thaws of it by default.
        imagenet: whether its function builds it with the weights "imagenet".
    """

    scaling: str
    size: int = 224
    thaw: int | str = "35%"
    imagenet: bool = False


class Backbones(Registry):
    """The functions that build backbones, and a record of each, by name."""

    def __init__(self):
        super().__init__("backbone")
        self.records: dict[str, Record] = {}

    def add(self, scaling: str, **record: Any) -> Callable[[Callable], Callable]:
        """Registers a function that builds a backbone; to be used as a decorator.

        Args:
            scaling: "none", "tf", "torch" or "caffe".
            **record: other fields of its `Record`.

        Raises:
            UserError: the name is taken, or there is no such scaling.
        """
        if scaling not in SCALINGS:
            raise UserError(f"scaling {scaling!r}: expected one of {', '.join(SCALINGS)}")

        def decorate(function: Callable) -> Callable:
            self.register(function)
            self.records[function.__name__] = Record(scaling, **record)
            return function

        return decorate


BACKBONES = Backbones()


def record_of(backbone: str) -> Record | None:
    """The record of what `--backbone` names; None of a file, and of a name that is not known yet.

    Raises:
        UserError: it cannot be read.
    """
    return None if backbone_file(backbone) else BACKBONES.records.get(named(backbone).name)


def named(backbone: str) -> Spec:
    """What `--backbone` says, where it is no file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return parse_one(backbone)
    except UserError as error:
        raise UserError(
            f"{setting('backbone', backbone)}: {error}, or the path of a .keras file"
        ) from None


def options_of(config: Config) -> tuple[str, dict[str, Any]]:
    """The name of a configuration's backbone, and the options that it is built with.

    Raises:
        UserError: there is none of that name, or it does not take these options.
    """
    spec = named(config.backbone)
    received = setting("backbone", config.backbone)
    try:
        options = dict(BACKBONES.bind(spec).keywords)
    except UserError as error:
        raise UserError(f"{received}: {error}") from None
    if "alpha" not in inspect.signature(BACKBONES[spec.name]).parameters:
        if config.alpha != Config.alpha:
            raise UserError(
                f"{setting('alpha', config.alpha)}: {spec.name} comes in one width; leave it out,"
                " or give one of the MobileNets"
            )
        return spec.name, options
    alpha = options.setdefault("alpha", config.alpha)
    if config.alpha not in (alpha, Config.alpha):
        raise UserError(f"{received} and {setting('alpha', config.alpha)}: give one of the two")
    return spec.name, options


def comes_with_weights(config: Config) -> bool:
    """Whether the first weights are put into the backbone where it is built."""
    if backbone_file(config.backbone):
        return config.weights == "own"
    # Those of MobileNetV2 are fetched before Keras is started, see `lib.model.weights`.
    return config.weights == "imagenet" and not (config.from_run or is_mobilenet_v2(config))


def is_mobilenet_v2(config: Config) -> bool:
    """Whether a configuration is of MobileNetV2, whose weights we know without Keras."""
    return not backbone_file(config.backbone) and named(config.backbone).name == "mobilenet_v2"


def alpha_of(config: Config) -> float:
    """The width of a configuration's backbone; 1 of one that comes in one width."""
    file = backbone_file(config.backbone)
    return Config.alpha if file else options_of(config)[1].get("alpha", Config.alpha)


def require_known(config: Config) -> None:
    """Makes sure, early, that there is the backbone that a new run names, as far as can be known.

    Raises:
        UserError: there is no such file, or no such name and no plugin that may have it.
    """
    if file := backbone_file(config.backbone):
        if not file.is_file():
            raise UserError(
                f"{setting('backbone', config.backbone)}: no such file; expected one that"
                f" `model.save('NAME.keras')` wrote, or one of {', '.join(sorted(BACKBONES))}"
            )
    elif not config.plugin:
        options_of(config)


def default_size(backbone: str) -> int:
    """The side of the images that `--backbone` takes where none is asked for, in pixels.

    Of a file, what it was made for; of one that takes any, and of a name that is not known yet, the
    default of a run.

    Raises:
        UserError: it cannot be read.
    """
    if file := backbone_file(backbone):
        try:
            with zipfile.ZipFile(file) as archive:
                shapes = list(_shapes_in(json.loads(archive.read("config.json"))))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return Config.image_size  # what is wrong with it is said where it is loaded
        return next((shape[1] for shape in shapes if shape[1]), Config.image_size)
    record = record_of(backbone)
    return record.size if record else Config.image_size


def _shapes_in(settings: Any) -> Iterator[list]:
    """The shapes of images that the inputs of a saved model take."""
    if isinstance(settings, dict):
        shape = settings.get("batch_shape")
        if isinstance(shape, list) and len(shape) == 4:
            yield shape
        settings = list(settings.values())
    for each in settings if isinstance(settings, list) else ():
        yield from _shapes_in(each)


def _application(builder: str, fixed: Mapping[str, Any], options: Mapping[str, Any]) -> Callable:
    """The function that builds a network of `keras.applications`.

    Args:
        builder: its name there.
        fixed: what it is always built with.
        options: what may be set, and the defaults.
    """

    def build(image_size: int, weights: str | None, **given: Any) -> "keras.Model":
        from keras import applications

        shape = (image_size, image_size, 3)
        return getattr(applications, builder)(
            input_shape=shape, include_top=False, weights=weights, **fixed, **given
        )

    either = inspect.Parameter.POSITIONAL_OR_KEYWORD
    build.__signature__ = inspect.Signature(
        [inspect.Parameter(name, either) for name in ("image_size", "weights")]
        + [inspect.Parameter(name, either, default=value) for name, value in options.items()]
    )
    build.__doc__ = f"Keras' {builder}."
    return build


_ALPHA = {"alpha": 1.0}
_V3 = {"alpha": 1.0, "minimalistic": False}
# The last normalisation of a ConvNeXt belongs after pooling; the others are pooled by us.
_POOLED = {"pooling": "avg"}

# Name, name in `keras.applications`, scaling, size; what is always given, and what may be.
_APPLICATIONS = (
    ("mobilenet", "MobileNet", "tf", 224, {}, {"alpha": 1.0, "depth_multiplier": 1}),
    ("mobilenet_v2", "MobileNetV2", "tf", 160, {}, _ALPHA),
    ("mobilenet_v3_small", "MobileNetV3Small", "none", 224, {}, _V3),
    ("mobilenet_v3_large", "MobileNetV3Large", "none", 224, {}, _V3),
    ("efficientnet_b0", "EfficientNetB0", "none", 224, {}, {}),
    ("efficientnet_b1", "EfficientNetB1", "none", 240, {}, {}),
    ("efficientnet_b2", "EfficientNetB2", "none", 260, {}, {}),
    ("efficientnet_b3", "EfficientNetB3", "none", 300, {}, {}),
    ("efficientnet_b4", "EfficientNetB4", "none", 380, {}, {}),
    ("efficientnet_b5", "EfficientNetB5", "none", 456, {}, {}),
    ("efficientnet_b6", "EfficientNetB6", "none", 528, {}, {}),
    ("efficientnet_b7", "EfficientNetB7", "none", 600, {}, {}),
    ("efficientnet_v2_b0", "EfficientNetV2B0", "none", 224, {}, {}),
    ("efficientnet_v2_b1", "EfficientNetV2B1", "none", 240, {}, {}),
    ("efficientnet_v2_b2", "EfficientNetV2B2", "none", 260, {}, {}),
    ("efficientnet_v2_b3", "EfficientNetV2B3", "none", 300, {}, {}),
    ("efficientnet_v2_s", "EfficientNetV2S", "none", 384, {}, {}),
    ("efficientnet_v2_m", "EfficientNetV2M", "none", 480, {}, {}),
    ("efficientnet_v2_l", "EfficientNetV2L", "none", 480, {}, {}),
    ("resnet50", "ResNet50", "caffe", 224, {}, {}),
    ("resnet101", "ResNet101", "caffe", 224, {}, {}),
    ("resnet152", "ResNet152", "caffe", 224, {}, {}),
    ("resnet50_v2", "ResNet50V2", "tf", 224, {}, {}),
    ("resnet101_v2", "ResNet101V2", "tf", 224, {}, {}),
    ("resnet152_v2", "ResNet152V2", "tf", 224, {}, {}),
    ("densenet121", "DenseNet121", "torch", 224, {}, {}),
    ("densenet169", "DenseNet169", "torch", 224, {}, {}),
    ("densenet201", "DenseNet201", "torch", 224, {}, {}),
    ("convnext_tiny", "ConvNeXtTiny", "none", 224, _POOLED, {}),
    ("convnext_small", "ConvNeXtSmall", "none", 224, _POOLED, {}),
    ("convnext_base", "ConvNeXtBase", "none", 224, _POOLED, {}),
    ("inception_v3", "InceptionV3", "tf", 299, {}, {}),
    ("xception", "Xception", "tf", 299, {}, {}),
    ("inception_resnet_v2", "InceptionResNetV2", "tf", 299, {}, {}),
    ("nasnet_mobile", "NASNetMobile", "tf", 224, {}, {}),
    ("nasnet_large", "NASNetLarge", "tf", 331, {}, {}),
    ("vgg16", "VGG16", "caffe", 224, {}, {}),
    ("vgg19", "VGG19", "caffe", 224, {}, {}),
)
for _name, _builder, _scaling, _size, _fixed, _options in _APPLICATIONS:
    _function = _application(_builder, _fixed, _options)
    _function.__name__ = _name
    # Layer 100 of MobileNetV2 is where its last 35 % begin; as a number it is what it always was.
    _thaw = 100 if _name == "mobilenet_v2" else "35%"
    BACKBONES.add(_scaling, size=_size, thaw=_thaw, imagenet=True)(_function)
