"""The operations of a functional Keras model, in their order, and where they can be cut in two.

Operations, and not layers: an addition or a hard sigmoid may be written as one, and a nested model
is a layer that has many. Models inside of the model are therefore taken apart.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras

# Multiplications above the cut that cost a step as much as a number that passes through it.
_MULTIPLICATIONS_A_NUMBER = 1000
# Converting a piece for LiteRT takes a dozen times the memory of its weights.
_WEIGHTS_A_PIECE = 4_000_000


@dataclasses.dataclass(frozen=True)
class Step:
    """One call of an operation.

    Attributes:
        operation: Keras' layer or operation; one that is called twice has two steps.
        arguments: as Keras keeps them, with symbolic tensors where the values will be.
        keys: of the values that take the place of these, by the `id` of the symbolic tensor.
        takes: the keys of its inputs, one for each place where one is used.
        gives: the keys of its outputs.
        shapes: of its outputs, without the number of images.
    """

    operation: keras.Operation
    arguments: Any
    keys: Mapping[int, int]
    takes: tuple[int, ...]
    gives: tuple[int, ...]
    shapes: tuple[tuple[int | None, ...], ...]

    @property
    def multiplications(self) -> int:
        """How many an image takes, of a convolution or dense layer; the others have few."""
        kernels = [each for each in _weights(self.operation) if "kernel" in each.name]
        places = math.prod(side or 1 for side in self.shapes[0][:-1])
        return places * sum(math.prod(kernel.shape) for kernel in kernels)


@dataclasses.dataclass(frozen=True)
class Graph:
    """The steps of a model of one input and one output.

    Attributes:
        steps: in an order in which they can be computed.
        output: the key of what the model puts out; that of its input is 0.
        shapes: of all values by their keys, without the number of images.
    """

    steps: tuple[Step, ...]
    output: int
    shapes: Mapping[int, tuple[int | None, ...]]

    @functools.cached_property
    def crossings(self) -> tuple[tuple[int, ...], ...]:
        """Before each step, and after the last: the values made below and used from there on."""
        last_use = {key: i for i, step in enumerate(self.steps) for key in step.takes}
        last_use[self.output] = len(self.steps)
        made, found = [0], []
        for i, step in enumerate(self.steps):
            found.append(tuple(key for key in made if last_use.get(key, -1) >= i))
            made += step.gives
        return (*found, (self.output,))

    @functools.cached_property
    def numbers(self) -> tuple[int, ...]:
        """How many numbers of an image pass in front of each step, and after the last."""
        return tuple(
            sum(math.prod(self.shapes[key]) for key in crossing) for crossing in self.crossings
        )

    def cheapest_cut(self, first: int) -> int:
        """The step in front of which the model is best cut, at or below the first trained step.

        What passes has to be moved to the training step; what lies between the cut and the first
        trained step is computed there, by slower means.

        Args:
            first: the first trained step; `len(steps)` where nothing is trained.
        """
        between = 0
        costs = {first: float(self.numbers[first])}
        for i in reversed(range(first)):
            between += self.steps[i].multiplications
            costs[i] = self.numbers[i] + between / _MULTIPLICATIONS_A_NUMBER
        return min(costs, key=lambda i: (costs[i], -i))

    def narrow_from(self, side: int) -> int:
        """The step from which on feature maps are narrow; `len(steps)` where they never are.

        In front of it one map passes, with no side longer than that, which the next convolution
        does not make smaller.

        Args:
            side: in pixels.
        """
        found = next(
            (
                i
                for i, crossing in enumerate(self.crossings)
                if len(crossing) == 1
                and len(self.shapes[crossing[0]]) == 3
                and max(self.shapes[crossing[0]][:2]) <= side
            ),
            len(self.steps),
        )
        while found < len(self.steps) and len(self.crossings[found + 1]) == 1:
            # A convolution must leave fewer; a normalisation or activation belongs to it.
            fewer = self.numbers[found] - self.numbers[found + 1]
            if fewer < (self.steps[found].multiplications > 0):
                break
            found += 1
        return found

    def pieces(self, first: int, last: int) -> list[int]:
        """Bounds of pieces of the steps from `first` to `last`, of few weights where possible.

        They are where one value passes, which no normalisation would be folded across.
        """
        places = [
            i
            for i in range(first + 1, last)
            if len(self.crossings[i]) == 1
            and _weights(self.steps[i].operation)
            and not self.steps[i - 1].multiplications
        ]
        bounds, held, start = [first], 0, first
        for end in (*places, last):
            steps = self.steps[start:end]
            weights = sum(math.prod(v.shape) for step in steps for v in _weights(step.operation))
            if held and held + weights > _WEIGHTS_A_PIECE:
                bounds.append(start)
                held = 0
            held, start = held + weights, end
        return [*bounds, last]

    def last_map(self) -> int | None:
        """The last step in front of which a single feature map passes; None where none does.

        A map of one place, as pooling leaves it, does not count where there are larger ones.
        """
        maps = {
            i: math.prod(self.shapes[crossing[0]][:2])
            for i, crossing in enumerate(self.crossings)
            if len(crossing) == 1 and len(self.shapes[crossing[0]]) == 3 and crossing[0] != 0
        }
        if len(self.steps) in maps:
            return len(self.steps)
        return max((i for i in maps if maps[i] > 1), default=max(maps, default=None))


def _weights(operation: keras.Operation) -> list[keras.Variable]:
    return getattr(operation, "weights", [])


def graph_of(model: keras.Model) -> Graph:
    """The graph of a functional model of one input and one output.

    Keras has no public way to the calls of which a model consists; a test holds what is used here.
    """
    steps: list[Step] = []
    symbols = {0: functional(model).inputs[0]}
    (output,) = _inline(model, [0], steps, symbols)
    shapes = {key: tuple(symbol.shape[1:]) for key, symbol in symbols.items()}
    return Graph(tuple(steps), output, shapes)


def functional(layer: Any) -> keras.Model | None:
    """The model of calls that a layer consists of; None for what is no such model."""
    inner = getattr(layer, "_functional", layer)  # that of a `keras.Sequential`
    return inner if isinstance(inner, keras.Model) and hasattr(inner, "_nodes_by_depth") else None


def leaf_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers of a model in Keras' order, each once; models among them are taken apart."""
    found: dict[int, keras.layers.Layer] = {}
    for layer in model.layers:
        inner = leaf_layers(layer) if functional(layer) is not None else [layer]
        found |= {id(each): each for each in inner if id(each) not in found}
    return list(found.values())


def _inline(
    model: keras.Model,
    inputs: Sequence[int],
    steps: list[Step],
    symbols: dict[int, keras.KerasTensor],
) -> list[int]:
    """Appends the steps of a model, and returns the keys of its outputs.

    Args:
        model: functional, or sequential and built.
        inputs: the keys of its inputs.
        steps: those before it.
        symbols: shape and type of all values by their keys, to which its own are added.
    """
    model = functional(model)
    keys = dict(zip(map(id, model.inputs), inputs, strict=True))
    # A model inside of another one may be used for other shapes than it was built for.
    as_built = all(
        symbols[key].shape == each.shape for key, each in zip(inputs, model.inputs, strict=True)
    )
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.is_input:
                continue
            tensors = node.arguments.keras_tensors
            takes = [keys[id(tensor)] for tensor in tensors]
            if functional(node.operation) is not None:
                gives = _inline(node.operation, takes, steps, symbols)
            else:
                outputs = node.outputs
                by_tensor = dict(zip(map(id, tensors), takes, strict=True))
                if not as_built:
                    filled = {each: symbols[key] for each, key in by_tensor.items()}
                    arguments, options = node.arguments.fill_in(filled)
                    outputs = keras.tree.flatten(
                        node.operation.compute_output_spec(*arguments, **options)
                    )
                gives = list(range(len(symbols), len(symbols) + len(outputs)))
                symbols |= zip(gives, outputs, strict=True)
                shapes = tuple(tuple(each.shape[1:]) for each in outputs)
                call = (by_tensor, tuple(takes), tuple(gives), shapes)
                steps.append(Step(node.operation, node.arguments, *call))
            keys |= zip(map(id, node.outputs), gives, strict=True)
    return [keys[id(tensor)] for tensor in model.outputs]
