import keras
import numpy as np
import pytest
from keras import layers

from lib.model.folding import Part
from lib.model.graph import graph_of, leaf_layers
from tests.conftest import small_backbone


def model_of(*above, size=8):
    """A chain of layers on images; they are named in their order, from 1 on."""
    x = images = keras.Input((size, size, 3))
    for number, layer in enumerate(above, start=1):
        layer.name = str(number)
        x = layer(x)
    return keras.Model(images, x)


def names(graph):
    return [step.operation.name for step in graph.steps]


def branches():
    """Two branches of four and two channels, side by side, and a convolution."""
    images = keras.Input((8, 8, 3))
    both = [layers.Conv2D(4, 1, name="left")(images), layers.Conv2D(2, 1, name="right")(images)]
    return keras.Model(images, layers.Conv2D(5, 3, name="last")(layers.Concatenate()(both)))


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (layers.Conv2D(5, 3, padding="same"), 8 * 8 * 3 * 3 * 3 * 5),
        (layers.Conv2D(5, 3, strides=2), 3 * 3 * 3 * 3 * 3 * 5),
        (layers.DepthwiseConv2D(3, padding="same"), 8 * 8 * 3 * 3 * 3),
        (layers.SeparableConv2D(5, 3, padding="same"), 8 * 8 * (3 * 3 * 3 + 3 * 5)),
        (layers.Dense(5), 8 * 8 * 3 * 5),
        (layers.BatchNormalization(), 0),
        (layers.PReLU(), 0),
    ],
    ids=lambda each: type(each).__name__,
)
def test_multiplications_are_those_of_convolutions_and_dense_layers(layer, expected):
    (step,) = graph_of(model_of(layer)).steps
    assert step.multiplications == expected


def test_what_passes_is_made_below_and_used_above():
    graph = graph_of(branches())
    (of_input,), of_one, of_both, (joined,), (output,) = graph.crossings
    assert of_input == 0 and output == graph.output
    assert 0 in of_one and len(of_one) == len(of_both) == 2 and 0 not in of_both
    assert graph.shapes[joined] == (8, 8, 6)
    first = 4 if names(graph)[0] == "left" else 2
    assert graph.numbers == (8 * 8 * 3, 8 * 8 * (3 + first), 8 * 8 * 6, 8 * 8 * 6, 6 * 6 * 5)


@pytest.mark.parametrize("at", range(5))
def test_a_network_is_cut_anywhere_also_where_several_values_pass(at):
    model = branches()
    images = np.random.default_rng(0).uniform(-1, 1, (2, 8, 8, 3)).astype(np.float32)
    graph = graph_of(model)
    passing = Part(graph, 0, at, fold=True)(images)
    result = Part(graph, at, len(graph.steps), fold=True)(passing)
    np.testing.assert_allclose(result, model(images), atol=1e-5)


def test_a_cut_is_moved_down_where_so_much_less_passes_that_it_is_worth_the_multiplications():
    wide, narrow = layers.Conv2D(100, 1), layers.Conv2D(2, 1)
    chain = [wide, narrow, layers.Conv2D(100, 1), layers.ReLU(), layers.Conv2D(100, 3)]
    graph = graph_of(model_of(*chain))
    assert graph.cheapest_cut(4) == 2  # 6,272 numbers less for 12,800 multiplications
    assert graph.cheapest_cut(3) == 2
    assert graph.cheapest_cut(2) == 2
    assert graph.cheapest_cut(1) == 0  # fewer numbers still, for 19,200
    assert graph.cheapest_cut(0) == 0
    assert graph.cheapest_cut(5) == 2  # 3,472 numbers less for 3,252,800 multiplications


def test_of_cuts_that_cost_the_same_the_highest_is_taken():
    graph = graph_of(model_of(layers.ReLU(), layers.ReLU()))
    assert [graph.cheapest_cut(first) for first in range(3)] == [0, 1, 2]


@pytest.mark.parametrize("alpha", [0.35, 0.75, 1.0])
def test_mobilenet_v2_is_cut_where_block_11_begins(alpha):
    model = small_backbone(160, alpha)
    graph = graph_of(model)
    first = names(graph).index(leaf_layers(model)[100].name)
    assert names(graph)[graph.cheapest_cut(first)] == "block_11_expand"


def narrow(side, *above):
    graph = graph_of(model_of(*above))
    return graph.narrow_from(side)


def test_maps_are_narrow_from_where_the_next_convolution_leaves_no_fewer_numbers():
    down = layers.Conv2D(6, 1, strides=2)  # 4 pixels: 96 numbers of 192
    assert narrow(4, down, layers.BatchNormalization(), layers.Conv2D(9, 1)) == 2
    down = layers.Conv2D(6, 1, strides=2)
    fewer = layers.Conv2D(3, 1)  # what makes fewer is computed image by image still
    assert narrow(4, down, fewer, layers.ReLU(), layers.Conv2D(9, 1)) == 3
    assert narrow(3, layers.Conv2D(6, 1, strides=2), layers.ReLU()) == 2  # never
    assert narrow(8, layers.Conv2D(6, 1), layers.ReLU()) == 0


def test_where_several_maps_pass_none_is_narrow():
    graph = graph_of(branches())
    assert graph.narrow_from(7) == len(graph.steps)
    x = images = keras.Input((8, 8, 3))
    small = layers.MaxPooling2D(2)(x)
    both = [layers.Conv2D(4, 1)(small), layers.Conv2D(2, 1)(small)]
    graph = graph_of(keras.Model(images, layers.Concatenate()(both)))
    assert graph.narrow_from(4) == 1  # in front of the branches


def test_pieces_are_cut_where_one_value_passes_and_nothing_is_folded_across(monkeypatch):
    chain = [layers.Conv2D(5, 1), layers.BatchNormalization(), layers.ReLU()]
    chain += [layers.Conv2D(5, 1), layers.BatchNormalization(), layers.Conv2D(5, 1)]
    graph = graph_of(model_of(*chain))
    assert graph.pieces(0, 6) == [0, 6]
    monkeypatch.setattr("lib.model.graph._WEIGHTS_A_PIECE", 1)
    assert graph.pieces(0, 6) == [0, 3, 5, 6]  # not between a convolution and what follows it
    assert graph.pieces(1, 6) == [1, 3, 5, 6]
    monkeypatch.setattr("lib.model.graph._WEIGHTS_A_PIECE", 90)
    assert graph.pieces(0, 6) == [0, 5, 6]  # of 40 and 50 weights, and of 30
    graph = graph_of(branches())
    assert graph.pieces(0, 4) == [0, 3, 4]  # not between the branches


@pytest.mark.parametrize(
    ("above", "expected"),
    [
        ((layers.Conv2D(5, 3), layers.ReLU()), 2),
        ((layers.Conv2D(5, 3), layers.GlobalAveragePooling2D()), 1),
        ((layers.Conv2D(5, 3), layers.GlobalAveragePooling2D(keepdims=True), layers.Flatten()), 1),
        ((layers.Conv2D(5, 8), layers.ReLU(), layers.Flatten()), 2),  # of one place at most
        ((layers.Flatten(),), None),  # what enters is no feature map
    ],
)
def test_the_last_map_is_the_last_that_has_places(above, expected):
    assert graph_of(model_of(*above)).last_map() == expected


def test_a_model_inside_of_another_is_taken_apart_each_time_it_is_called():
    inner = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(3, 3, name="inside")])
    images = keras.Input((8, 8, 3))
    model = keras.Model(images, layers.ReLU(name="last")(inner(inner(images))))
    graph = graph_of(model)
    assert names(graph) == ["inside", "inside", "last"]
    assert [step.shapes[0] for step in graph.steps] == [(6, 6, 3), (4, 4, 3), (4, 4, 3)]
    assert [layer.name for layer in leaf_layers(model)][1:] == ["inside", "last"]
