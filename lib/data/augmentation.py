"""A list of operations, as in `--augment`, as one function of a batch and its step number."""

import functools
import inspect
import itertools
import traceback
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from lib.config import Config, setting
from lib.data.augment import OPERATIONS
from lib.data.examples import Examples
from lib.data.geometry import Geometry, composed, interpolated
from lib.errors import UserError, reason
from lib.randomness import uniform
from lib.specs import Spec, parse
from lib.windows import middle

# The `draw` of each operation.
Draws = Callable[["_Operation"], Callable[[int], tf.Tensor]]


class Augmentation:
    """What is done to training examples.

    What happens to an example is a function of (seed, step, position in the batch), so that a slice
    of a batch is augmented as within the whole. The numbers that are drawn are keyed by the
    operation's name and by how many of that name come before it in the list: adding, removing or
    reordering others does not change them. Operations that mix examples (`mixup`, `cutmix`) choose
    partners among the examples that they are given.

    Adjacent geometric operations are one interpolation, adjacent compiled ones one call of XLA.

    Args:
        text: the list, such as "flip|rotate(0.2)"; empty for none.
        seed: the run's seed.
        size: the side of the images that it gives, in pixels; None for that of those it is given.

    Raises:
        UserError: it cannot be read, or names an operation that there is not, or that does not
            take the values given, or whose tracing fails.
    """

    def __init__(self, text: str, seed: int, size: int | None = None):
        self.text = text
        self._seed = seed
        self._size = size
        try:
            specs = parse(text)
            self._operations = [
                _Operation(
                    spec, position, [each.name for each in specs[:position]].count(spec.name)
                )
                for position, spec in enumerate(specs)
            ]
            for operation in self._operations:
                self._try(operation)
            self._parts = _joined(self._operations)
        except UserError as error:
            raise UserError(f"{setting('augment', text)}: {error}") from error
        # Nothing in it depends on a tensor's value, and AutoGraph would look for it for a second.
        self._graph = tf.function(self._augmented, autograph=False)

    def __call__(
        self,
        images: np.ndarray | tf.Tensor,
        targets: np.ndarray | tf.Tensor,
        step: int | tf.Tensor,
        first: int | tf.Tensor = 0,
    ) -> Examples:
        """Augments a batch, or a slice of one.

        Args:
            images: uint8 or float32 [n, height, width, 3], 0 to 255, not smaller than what it
                gives. Each shape is compiled once.
            targets: float32 [n, 1] or [n, classes].
            step: the training step.
            first: position of the first image within the global batch.
        """
        try:
            return self._graph(
                tf.convert_to_tensor(images),
                tf.convert_to_tensor(targets),
                tf.cast(step, tf.int64),
                tf.cast(first, tf.int32),
            )
        except tf.errors.InvalidArgumentError as error:
            for operation in self._operations:
                # TensorFlow names the node in which it arose.
                if f"{operation.scope}/" in str(error):
                    raise UserError(
                        f"{setting('augment', self.text)}: {operation.spec} failed on a batch:"
                        f" {reason(error)}"
                    ) from error
            raise

    def _augmented(
        self, pixels: tf.Tensor, targets: tf.Tensor, step: tf.Tensor, first: tf.Tensor
    ) -> Examples:
        examples = Examples(tf.cast(pixels, tf.float32), targets)
        matrix, whole = None, False  # of the geometric operations since the last interpolation
        draws = functools.partial(self._draw, step=step, first=first, count=pixels.shape[0])
        for operation in self._parts:
            if matrix is not None and not operation.geometric:
                pixels, matrix = interpolated(pixels, matrix, self._size, whole), None
                examples = examples._replace(images=pixels)
            done = operation(examples, draws)
            if isinstance(done, Geometry):
                whole = done.whole or (whole and matrix is not None)
                matrix = done.matrix if matrix is None else composed(matrix, done.matrix)
                if done.then is None:
                    continue
                pixels, matrix = interpolated(pixels, matrix, self._size, whole), None
                done = done.then(examples._replace(images=pixels))
            # A plugin's may be unknown while it is traced, and XLA compiles for known ones.
            pixels = tf.ensure_shape(done.images, pixels.shape)
            examples = Examples(pixels, tf.ensure_shape(done.targets, targets.shape))
        if matrix is not None:
            examples = examples._replace(images=interpolated(pixels, matrix, self._size, whole))
        return examples._replace(images=middle(examples.images, self._size or pixels.shape[1]))

    def _draw(self, operation: "_Operation", step, first, count: int) -> Callable[[int], tf.Tensor]:
        """The `draw` of an operation for the positions from `first` on, see `lib.data.augment`."""
        calls = itertools.count()

        def draw(k: int) -> tf.Tensor:
            # The first numbers of a Philox stream do not depend on how many are drawn.
            name = f"augment/{operation.spec.name}/{operation.occurrence}/{next(calls)}"
            with step.graph.as_default():  # not within what XLA compiles
                numbers = uniform([first + count, k], self._seed, name, step)
                return tf.slice(numbers, [first, 0], [count, k])

        return draw

    def _try(self, operation: "_Operation") -> None:
        """Traces an operation for two small images, and learns whether it is geometric.

        Raises:
            UserError: it fails, or does not return what it should.
        """

        def trace(images: tf.Tensor, targets: tf.Tensor) -> None:
            draws = functools.partial(self._draw, step=tf.constant(0), first=0, count=2)
            done = operation(Examples(images, targets), draws)
            operation.geometric = isinstance(done, Geometry)
            if operation.geometric:
                _require("a matrix", done.matrix, [2, 2, 3])
                moved = Examples(images, targets)
                done = done.then(moved) if done.then else moved
            if not isinstance(done, Examples):
                raise UserError(
                    f"it returned {type(done).__name__}; expected Examples, or the geometry that"
                    " affine(...) returns"
                )
            _require("images", done.images, images.shape)
            _require("targets", done.targets, targets.shape)

        # Of the targets' number of columns nothing is known yet.
        signature = [tf.TensorSpec([2, 32, 32, 3]), tf.TensorSpec([2, None])]
        try:
            tf.function(trace, signature, autograph=False).get_concrete_function()
        except UserError as error:
            raise UserError(f"{operation.spec}: {error}") from error
        except Exception as error:
            raise UserError(f"{operation.spec}: {operation.place_of(error)}") from error


def augmentation_of(config: Config) -> Augmentation:
    """What a run does to its training examples.

    Raises:
        UserError: as `Augmentation` does.
    """
    return Augmentation(config.augment, config.seed, config.image_size)


class _Operation:
    """An operation of the list.

    Attributes:
        spec: its name and values.
        occurrence: how many of this name come before it.
        geometric: whether it only says where pixels come from; known once it was tried.
        compiled: whether XLA may compile it with its neighbours.
        scope: how the nodes of its graph are called.
    """

    def __init__(self, spec: Spec, position: int, occurrence: int):
        self.spec = spec
        self.occurrence = occurrence
        self.geometric = False
        self._function = OPERATIONS.bind(spec)
        self.compiled = getattr(OPERATIONS[spec.name], "compiled", False)
        self.scope = f"operation_{position}"  # names need not be ASCII, as scopes must

    def __call__(self, examples: Examples, draws: Draws) -> Examples | Geometry:
        with tf.name_scope(self.scope):
            return self._function(examples, draws(self))

    def place_of(self, error: Exception) -> str:
        """Where in the file of the operation an error arose, and which."""
        file = inspect.unwrap(OPERATIONS[self.spec.name]).__code__.co_filename
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == file
        ]
        line = f", line {lines[-1]}" if lines else ""
        return f"{file}{line}: {type(error).__name__}: {reason(error)}"


class _Joined:
    """Adjacent operations that XLA compiles into one."""

    geometric = False

    def __init__(self, operations: Sequence[_Operation]):
        self._operations = operations

    def __call__(self, examples: Examples, draws: Draws) -> Examples:
        @tf.function(jit_compile=True, autograph=False)
        def in_turn(*examples: tf.Tensor) -> Examples:
            examples = Examples(*examples)
            for operation in self._operations:
                examples = operation(examples, draws)
            return examples

        return in_turn(*examples)


def _joined(operations: Sequence[_Operation]) -> list[_Operation | _Joined]:
    """The operations of a list, adjacent compiled ones as one."""
    parts = []
    for compiled, group in itertools.groupby(operations, lambda each: each.compiled):
        adjacent = list(group)
        parts += [_Joined(adjacent)] if compiled else adjacent
    return parts


def _require(what: str, found: tf.Tensor, shape) -> None:
    """Makes sure that an operation returned float32 of a shape."""
    found = tf.convert_to_tensor(found)
    if found.dtype != tf.float32 or not found.shape.is_compatible_with(shape):
        wanted = ", ".join(
            "n" if each == 2 and not i else str(each) for i, each in enumerate(shape)
        )
        raise UserError(
            f"it returned {what} of type {found.dtype.name} and shape {tuple(found.shape)} for two"
            f" images of 32 by 32 pixels; expected float32 [{wanted}]"
        )
