"""Optimizers, Keras' own with any of their options, and how the learning rate changes over time.

To add a schedule, register a function of the phase's steps and its peak rate, here or in a plugin.
It returns a function of the update number, a Keras schedule, or a number:

    @SCHEDULES.register
    def halves(steps, peak, every=0.25):
        return lambda update: peak * 0.5 ** tf.floor(update / (every * steps))
"""

import inspect
import math
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from lib.errors import UserError, reason
from lib.specs import Registry, Spec, parse_one
from lib.training.scalars import require_scalar

LearningRateSchedule = keras.optimizers.schedules.LearningRateSchedule
Rate = float | LearningRateSchedule

SCHEDULES = Registry("schedule")
OPTIMIZERS = Registry("optimizer")

# Options of Keras' optimizers that are refused, and why.
_REFUSED = {
    "learning_rate": "the rate and its schedule are settings of the phase",
    **dict.fromkeys(
        ("use_ema", "ema_momentum", "ema_overwrite_frequency"),
        "averages of the weights are a setting of the run, ema",
    ),
    "loss_scale_factor": "it divides gradients of a loss that was scaled up for half precision, and"
    " all here is single precision",
    "name": "it changes nothing",
}


def _registered(kind: type[keras.optimizers.Optimizer]) -> None:
    """Registers an optimizer of Keras by its name in lower case."""

    def build(rate, **options):
        return kind(learning_rate=rate, **options)

    build.__name__ = kind.__name__.lower()
    build.__doc__ = inspect.getdoc(kind)
    build.__signature__ = inspect.Signature(
        [
            inspect.Parameter("rate", inspect.Parameter.POSITIONAL_OR_KEYWORD),
            *(
                parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
                for name, parameter in inspect.signature(kind).parameters.items()
                if name not in _REFUSED and parameter.default is not inspect.Parameter.empty
            ),
        ]
    )
    OPTIMIZERS.register(build)


for _kind in vars(keras.optimizers).values():
    # Those that work on their own: the base class has another signature, and so has the one that
    # wraps others (for half precision).
    if (
        inspect.isclass(_kind)
        and issubclass(_kind, keras.optimizers.Optimizer)
        and _kind is not keras.optimizers.Optimizer
        and "learning_rate" in inspect.signature(_kind).parameters
        # Keras 3.12, the last for Python 3.10, gives it a variable without the name it asks for.
        and not (_kind.__name__ == "Muon" and keras.__version__.startswith("3.12."))
    ):
        _registered(_kind)


def build_optimizer(text: str, rate: Rate) -> keras.optimizers.Optimizer:
    """A fresh optimizer, with no memory of an earlier phase.

    Args:
        text: a Keras optimizer's name and its options, such as `sgd(momentum=0.9, nesterov=True)`;
            capitals do not matter in the name.
        rate: its learning rate, see `make_schedule`.

    Raises:
        UserError: Keras has no such optimizer, or it does not take these options.
    """
    spec = parse_one(text)
    for name in spec.options:
        if name in _REFUSED:
            raise UserError(f"{text}: {name} cannot be given here; {_REFUSED[name]}")
    spec = Spec(spec.name.lower(), spec.values, spec.options)
    build = OPTIMIZERS.bind(spec)
    defaults = inspect.signature(OPTIMIZERS[spec.name]).parameters
    options = {
        name: _option(text, name, value, defaults[name].default)
        for name, value in spec.options.items()
    }
    try:
        return build(rate, **options)
    except (ValueError, TypeError) as error:
        raise UserError(f"{text}: {reason(error)}") from error


def _option(text: str, name: str, value: object, default: object) -> object:
    """An option as Keras wants it: it takes no whole number for a float, and looks at few."""
    if default is None and name != "exclude_layers" and value is not None:
        whole = name == "gradient_accumulation_steps"
        if (
            isinstance(value, bool)
            or not isinstance(value, int if whole else int | float)
            or not 0 <= value < math.inf
            or (name.startswith(("clip", "global_clip")) and value == 0)
        ):
            number = "whole number" if whole else "positive number"
            raise UserError(f"{text}: {name}={value!r}; expected a {number}, or None")
        return value if whole else float(value)
    return float(value) if isinstance(default, float) else value


@tf.autograph.experimental.do_not_convert
def apply_scaled(
    optimizer: keras.optimizers.Optimizer,
    gradients: Sequence[tf.Tensor],
    variables: Sequence[keras.Variable],
    scales: Sequence[float],
) -> None:
    """One update in which the change of each variable is scaled.

    It is the change that is scaled and not the gradient: Adam and its kin divide by the gradient's
    size, and weight decay does not know it. Variables of scale 1 get the optimizer's own bits.

    Args:
        optimizer: built for the variables.
        gradients: one for each variable.
        variables: what is updated.
        scales: one for each variable.
    """
    before = [
        (variable, tf.identity(tf.convert_to_tensor(variable)), scale)
        for variable, scale in zip(variables, scales, strict=True)
        if scale != 1.0
    ]
    optimizer.apply(gradients, variables)
    for variable, old, scale in before:
        variable.assign(old + scale * (tf.convert_to_tensor(variable) - old))


def layer_scales(blocks: Sequence[str], decay: float) -> list[float]:
    """The scale of each variable's update under layer decay.

    A block's is `decay` to the power of the number of blocks above it, as in Clark et al.,
    "ELECTRA", 2020, and in timm: 1 for the head, `decay` for the block below it. Blocks without a
    trained variable do not count.

    Args:
        blocks: the block of each variable, in the network's order, the head's last.
        decay: above 0 and at most 1.

    Raises:
        UserError: `decay` is not in that range.
    """
    if not 0.0 < decay <= 1.0:
        raise UserError(f"{decay!r}: expected a layer decay above 0 and at most 1")
    from_the_top = list(dict.fromkeys(reversed(blocks)))
    return [decay ** from_the_top.index(block) for block in blocks]


def make_schedule(text: str, steps: int, peak: float) -> Rate:
    """The learning rate of a phase: a number, or a function of the updates made in it.

    Args:
        text: a schedule, such as `cosine(warmup=0.1)`.
        steps: of the phase.
        peak: its highest rate.

    Raises:
        UserError: there is no such schedule, it does not take these values, or what it gives is no
            rate: a finite float32 scalar, not negative, that can be computed in a graph.
    """
    function = SCHEDULES.bind(parse_one(text))
    try:
        found = function(steps, peak)
    except UserError as error:
        raise UserError(f"{text}: {error}") from None
    except Exception as error:
        raise UserError(f"{text}: {type(error).__name__}: {reason(error)}") from error
    if isinstance(found, int | float) and not isinstance(found, bool):
        _require_rate(text, found, 0)
        return float(found)
    if not callable(found):
        raise UserError(
            f"the schedule {text} returned {found!r}; expected a function of the update number, a"
            " Keras schedule, or a number"
        )
    rate = found if isinstance(found, LearningRateSchedule) else _Computed(found)
    try:
        in_graph = tf.function(rate, autograph=False)
        for update in (0, max(0, steps - 1)):
            value = in_graph(tf.constant(update, tf.int64))
            require_scalar(f"the schedule {text} gives", value)
            _require_rate(text, float(value), update)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{text}: {type(error).__name__}: {reason(error)}") from error
    return rate


def _require_rate(text: str, value: float, update: int) -> None:
    if not 0.0 <= value < math.inf:
        raise UserError(
            f"the schedule {text} gives the rate {value} for update {update}; expected a finite"
            " number that is not negative"
        )


class _Computed(LearningRateSchedule):
    """A Keras schedule made of a function of the update number, a float32 scalar."""

    def __init__(self, function: Callable[[tf.Tensor], tf.Tensor]):
        self._function = function

    def __call__(self, step):
        return tf.convert_to_tensor(self._function(tf.cast(step, tf.float32)))


@SCHEDULES.register
def constant(steps: int, peak: float) -> Rate:
    """The same rate in every step."""
    return peak


@SCHEDULES.register
def cosine(steps: int, peak: float, warmup: float = 0.1) -> Rate:
    """Rises linearly over the part `warmup` of the phase, then falls to zero as half a cosine.

    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017, without
    restarts.
    """
    warm_up = _warm_up(steps, warmup)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warm_up else peak,
        decay_steps=max(1, steps - warm_up),
        warmup_target=peak if warm_up else None,
        warmup_steps=warm_up,
    )


@SCHEDULES.register
def linear(steps: int, peak: float, warmup: float = 0.0) -> Rate:
    """Rises linearly over the part `warmup` of the phase, then falls linearly to zero."""
    warm_up = _warm_up(steps, warmup)

    def rate(update):
        rising = update / max(1, warm_up)
        falling = (steps - update) / max(1, steps - warm_up)
        return peak * tf.clip_by_value(tf.where(update < warm_up, rising, falling), 0.0, 1.0)

    return rate


@SCHEDULES.register
def step(steps: int, peak: float, every: float = 0.25, factor: float = 0.1) -> Rate:
    """Multiplies the rate by `factor` after each part `every` of the phase."""
    if not 0.0 < every <= 1.0:
        raise UserError(f"every={every!r}: expected a part of the phase, above 0 and at most 1")
    if not 0.0 < factor < math.inf:
        raise UserError(f"factor={factor!r}: expected a positive number")
    return keras.optimizers.schedules.ExponentialDecay(
        peak, max(1, round(every * steps)), factor, staircase=True
    )


def _warm_up(steps: int, part: float) -> int:
    if not 0.0 <= part <= 1.0:
        raise UserError(f"warmup={part!r}: expected a part of the phase, from 0 to 1")
    return round(part * steps)
