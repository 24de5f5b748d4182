"""Losses of a batch's logits, and what is read from logits and targets.

To add one, register a function of logits and targets, here or in a plugin; its parameters with
defaults are what `--loss` may set:

    @LOSSES.register
    def brier(logits, targets):
        return tf.reduce_sum((tf.nn.softmax(logits) - targets) ** 2, axis=1)

Targets are probabilities of classes: float32 [n, 1], of class 1, where the network has one logit,
and [n, classes] otherwise. They may be mixed and need not be zeros and ones.

The losses below have gradients in closed form: one expression instead of a sum over every use of
the logits, whose order of summation TensorFlow leaves to timing (`lib.system.exact_sums` makes
such sums exact for losses that have no closed form).
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from lib.errors import UserError, reason
from lib.specs import Registry, parse_one, unknown

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

LOSSES = Registry("loss")


def make_loss(
    text: str, class_weights: Sequence[float] | None = None, columns: int | None = None
) -> Loss:
    """The loss that a spec names.

    With class weights, the loss of an example is multiplied by the mean of the weights, weighted by
    its targets: that of its class where there is but one, and in proportion where examples are
    mixed. (Keras' `fit` takes the weight of the likeliest class alone; PyTorch's `CrossEntropyLoss`
    weights each class's term, which for one class is the same, and for its mean over hard targets
    divides by the sum of the weights. Here the mean is over examples.)

    Args:
        text: such as `focal(gamma=1.5)`.
        class_weights: one for each class, or None.
        columns: of the logits; where given, the loss is tried on two examples right away, so that
            its errors come before the long work.

    Returns:
        A function of logits and targets, float32 [n, columns], to the losses, float32 [n].

    Raises:
        UserError: there is no such loss, or it does not take these values, fails, or does not
            return float32 [n]; the last two also when the function is called or traced.
    """
    function = LOSSES.bind(parse_one(text))

    def loss(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        try:
            losses = tf.convert_to_tensor(function(logits, targets))
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{text}: {type(error).__name__}: {reason(error)}") from error
        if losses.dtype != tf.float32 or not logits.shape[:1].is_compatible_with(losses.shape):
            raise UserError(
                f"the loss {text} returned {losses.dtype.name} {losses.shape} for logits"
                f" {logits.shape}; expected float32 [n], a loss for each example"
            )
        if class_weights is None:
            return losses
        weights = tf.constant(class_weights, tf.float32)
        return losses * tf.linalg.matvec(_of_each_class(targets), weights)

    if columns is not None:
        loss(tf.zeros([2, columns]), tf.fill([2, columns], 1 / max(columns, 2)))
    return loss


@LOSSES.register
def cross_entropy(logits: tf.Tensor, targets: tf.Tensor, label_smoothing: float = 0.0) -> tf.Tensor:
    """Cross-entropy; label_smoothing s makes targets (1 - s) * target + s / classes.

    Label smoothing is that of Szegedy et al., "Rethinking the Inception architecture", 2016.

    Args:
        logits: float32 [n, 1] (of class 1), or [n, classes].
        targets: float32 of the same shape.
        label_smoothing: from 0 to 1.

    Returns:
        The loss of each example, float32 [n].

    Raises:
        UserError: `label_smoothing` is not from 0 to 1.
    """
    if not 0.0 <= label_smoothing <= 1.0:
        raise UserError(f"label_smoothing={label_smoothing!r}: expected a number from 0 to 1")
    if label_smoothing:
        classes = max(2, logits.shape[1])
        targets = targets * (1.0 - label_smoothing) + label_smoothing / classes
    return (_binary if logits.shape[1] == 1 else _categorical)(logits, targets)


@tf.custom_gradient
def _binary(logits: tf.Tensor, targets: tf.Tensor):
    losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)[:, 0]

    def gradient(upstream):
        return upstream[:, tf.newaxis] * (tf.sigmoid(logits) - targets), None

    return losses, gradient


@tf.custom_gradient
def _categorical(logits: tf.Tensor, targets: tf.Tensor):
    losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)

    def gradient(upstream):
        return upstream[:, tf.newaxis] * (tf.nn.softmax(logits) - targets), None

    return losses, gradient


@LOSSES.register
def focal(
    logits: tf.Tensor,
    targets: tf.Tensor,
    gamma: float = 2.0,
    alpha: float | Sequence[float] | None = None,
) -> tf.Tensor:
    """Focal loss: -alpha * (1 - p)^gamma * log(p), p being the true class's probability.

    Lin et al., "Focal loss for dense object detection", 2017. For mixed targets it is the mean over
    classes, weighted by the targets.

    Args:
        logits: float32 [n, 1] (of class 1), or [n, classes].
        targets: float32 of the same shape.
        gamma: how little well-classified examples count; 0 is cross-entropy.
        alpha: a weight for each class; for two classes also that of class 1 alone, class 0 then
            having 1 - alpha. None: 1 for all.

    Returns:
        The loss of each example, float32 [n].

    Raises:
        UserError: `gamma` or `alpha` is not as described.
    """
    if not 0.0 <= gamma < math.inf:
        raise UserError(f"gamma={gamma!r}: expected a number that is not negative")
    columns = logits.shape[1]
    weights = tf.constant(_alphas(alpha, max(2, columns)), tf.float32)

    @tf.custom_gradient
    def losses_of(logits: tf.Tensor, targets: tf.Tensor):
        several = _as_several(logits)
        p = tf.nn.softmax(several)
        # 1 - p, as the sum of the others: a difference would be wrong where p is nearly 1.
        q = tf.matmul(p, 1.0 - tf.eye(max(2, columns)))
        log_p = tf.where(p > 0.5, tf.math.log1p(-q), tf.nn.log_softmax(several))
        weighted = _of_each_class(targets) * weights
        losses = tf.reduce_sum(weighted * q**gamma * -log_p, axis=1)

        def gradient(upstream):
            # log(p) / q goes to -1 as q goes to zero.
            ratio = tf.where(q > 1e-30, log_p / q, -1.0)
            terms = weighted * q**gamma * (gamma * p * ratio - 1.0)  # derivatives by log(p)
            whole = terms - p * tf.reduce_sum(terms, axis=1, keepdims=True)
            return upstream[:, tf.newaxis] * whole[:, -columns:], None

        return losses, gradient

    return losses_of(logits, targets)


def _alphas(alpha: float | Sequence[float] | None, classes: int) -> list[float]:
    if alpha is None:
        return [1.0] * classes
    numbers = [1.0 - alpha, alpha] if _is_number(alpha) and classes == 2 else alpha
    if (
        not isinstance(numbers, list | tuple)
        or len(numbers) != classes
        or not all(_is_number(each) and 0.0 <= each < math.inf for each in numbers)
    ):
        two = ", or a number from 0 to 1" if classes == 2 else ""
        raise UserError(
            f"alpha={alpha!r}: expected a list of {classes} numbers, one for each class{two}"
        )
    return [float(each) for each in numbers]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _as_several(logits: tf.Tensor) -> tf.Tensor:
    """Logits of each class: one logit is that of class 1, with a zero for class 0."""
    if logits.shape[1] > 1:
        return logits
    return tf.concat([tf.zeros_like(logits), logits], axis=1)


def _of_each_class(targets: tf.Tensor) -> tf.Tensor:
    """The target of each class, float32 [n, classes]."""
    if targets.shape[1] > 1:
        return targets
    return tf.concat([1.0 - targets, targets], axis=1)


def class_weights(
    text: str, classes: Sequence[str], counts: Sequence[int]
) -> tuple[float, ...] | None:
    """The weights of classes that a text asks for.

    Args:
        text: `none`; `balanced`: examples / (classes * examples of the class), as scikit-learn's
            `compute_class_weight` has it, so that the mean over the examples is 1; or each class
            with its weight, as in `cats:1,dogs:2`. Names may hold colons, commas and spaces.
        classes: their names.
        counts: how many training examples each has.

    Returns:
        A weight for each class, or None where all are 1.

    Raises:
        UserError: a class is missing, unknown, named twice or without examples, a weight is no
            positive number, or the text can be read in two ways.
    """
    if text == "none":
        return None
    if text == "balanced":
        for name, count in zip(classes, counts, strict=True):
            if not count:
                raise UserError(f"balanced: class {name!r} has no training image to count")
        return tuple(sum(counts) / (len(classes) * count) for count in counts)
    found = _readings(text, classes)
    if len(found) > 1:
        raise UserError(f"{text!r} can be read in two ways; rename a class of {', '.join(classes)}")
    if not found:
        raise _unreadable(text, classes)
    return tuple(_weight(text, name, found[0][name]) for name in classes)


def _readings(text: str, classes: Sequence[str]) -> list[dict[str, str]]:
    """How a text can be read as name:weight,… with every class named once; two ways at most."""
    found, open_ends = [], [(0, {})]
    while open_ends and len(found) < 2:
        start, read = open_ends.pop()
        start += len(text[start:]) - len(text[start:].lstrip())
        for name in classes:
            if name in read or not text.startswith(f"{name}:", start):
                continue
            after = start + len(name) + 1
            weight, comma, _ = text[after:].partition(",")
            now = {**read, name: weight}
            if ":" in weight:  # of a longer name
                continue
            if comma:
                open_ends.append((after + len(weight) + 1, now))
            elif len(now) == len(classes):
                found.append(now)
    return found


def _unreadable(text: str, classes: Sequence[str]) -> UserError:
    """What is wrong with a text that has no reading."""
    expected = ",".join(f"{name}:1" for name in classes)
    named = [piece.rpartition(":")[0].strip() for piece in text.split(",")]
    if not all(named):
        return UserError(f"{text!r}: expected none, balanced, or {expected} (with your weights)")
    for name in named:
        if name not in classes:
            return UserError(f"{text!r}: {unknown('class', name, classes)}")
        if named.count(name) > 1:
            return UserError(f"{text!r}: class {name!r} has two weights; expected one")
    missing = ", ".join(repr(name) for name in classes if name not in named)
    return UserError(f"{text!r}: no weight for {missing}; expected {expected} (with your weights)")


def _weight(text: str, name: str, written: str) -> float:
    try:
        weight = float(written)
    except ValueError:
        weight = math.nan
    if not 0.0 < weight < math.inf:
        raise UserError(
            f"{text!r}: the weight of {name!r} is {written!r}; expected a positive number"
        )
    return weight


def probabilities(logits: tf.Tensor) -> tf.Tensor:
    """The probability of each class, float32 [n, classes]; for one logit by the sigmoid."""
    if logits.shape[1] == 1:
        return tf.concat([tf.sigmoid(-logits), tf.sigmoid(logits)], axis=1)
    return tf.nn.softmax(logits)


def answers(logits: tf.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The network's answers: likeliest classes, int32 [n], and probabilities, float32 [n, classes].

    The probabilities are rounded from double precision, since in single precision the last bit
    depends on an image's place in its batch.
    """
    return (
        predicted_classes(logits).numpy(),
        probabilities(tf.cast(logits, tf.float64)).numpy().astype(np.float32),
    )


def predicted_classes(logits: tf.Tensor) -> tf.Tensor:
    """The likeliest class of each example, int32 [n]; for one logit the threshold is 0.5."""
    return _likeliest(logits, 0.0)


def true_classes(targets: tf.Tensor) -> tf.Tensor:
    """The likeliest class of the targets, int32 [n]; for one column class 1 if above 0.5."""
    return _likeliest(targets, 0.5)


def _likeliest(scores: tf.Tensor, threshold: float) -> tf.Tensor:
    if scores.shape[1] == 1:
        return tf.cast(scores[:, 0] > threshold, tf.int32)
    return tf.argmax(scores, axis=1, output_type=tf.int32)
