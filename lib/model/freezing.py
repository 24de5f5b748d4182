"""Freezes and thaws layers, and lists which are trained."""

import difflib
import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import keras

from lib.config import Phase, setting
from lib.errors import UserError
from lib.model.graph import leaf_layers
from lib.model.network import Network

# What the names of a block's layers have in common, by the way that Keras' networks name them.
_BLOCK = re.compile(
    r"(?:^|_)(stage_\d+_block_\d+|downsampling_block_\d+|conv\d+_block\d+|expanded_conv_\d+"
    r"|expanded_conv|block\d+[a-z]|block\d+_\d+(?=_)|block_?\d+)"
)
_OF_MOBILENET = re.compile(r"conv_(?:dw|pw|pad)_(\d+)")
_OF_NASNET = re.compile(r"(?:normal|reduction|reduce|adjust)\w*?_(stem_\d+|reduce_\d+|\d+)$")


def first_trained(backbone: keras.Model, phase: Phase) -> int | None:
    """The index of the backbone's first layer that a phase trains; None where it freezes all.

    `phase.thaw` is `none`, `all`, the index or the name of a layer, the name of a block, or the top
    share of the layers in per cent: `35%` are the last 54 of 154.

    Raises:
        UserError: it names nothing; near names are listed.
    """
    thaw, layers = phase.thaw, [layer.name for layer in leaf_layers(backbone)]
    received = setting(f"{phase.name}_thaw", thaw)
    if thaw == "none":
        return None
    if thaw == "all":
        return 0
    if isinstance(thaw, int):
        if not 0 <= thaw < len(layers):
            raise UserError(
                f"{received}: the backbone has layers 0 to {len(layers) - 1}; give one of these, or"
                f" the name of a layer or block such as {_with_weights(backbone)}"
            )
        return thaw
    if share := re.fullmatch(r"(\d+(?:\.\d*)?)%", thaw):
        if not 0 < float(share[1]) <= 100:
            raise UserError(f"{received}: expected a share above 0%, at most 100%")
        return len(layers) - max(1, round(len(layers) * float(share[1]) / 100))
    if thaw in layers:
        return layers.index(thaw)
    blocks = blocks_of(backbone)
    if thaw in blocks:
        return blocks.index(thaw)
    near = difflib.get_close_matches(thaw, {*layers, *blocks}, n=4, cutoff=0.4)
    hint = f"near it: {', '.join(sorted(near))}" if near else "expected none, all, an index or 35%"
    raise UserError(f"{received}: the backbone has no layer or block of that name; {hint}")


def _with_weights(backbone: keras.Model) -> str:
    """The last block that has something to train."""
    named = zip(leaf_layers(backbone), blocks_of(backbone), strict=True)
    return ([name for layer, name in named if layer.weights] or blocks_of(backbone))[-1]


def freeze(network: Network, trained_from: int | None) -> list[keras.Variable]:
    """Freezes the backbone below a layer and thaws it from there on.

    Args:
        network: whose layers' `trainable` is set.
        trained_from: index of the first trained layer; None freezes the whole backbone.

    Returns:
        The trained variables: those of the thawed layers in their order, then the head's.
    """
    layers = leaf_layers(network.backbone)
    first = len(layers) if trained_from is None else trained_from
    network.backbone.trainable = True  # and each model in it, which says nothing of its layers
    for index, layer in enumerate(layers):
        layer.trainable = index >= first
    return [
        variable
        for layer in (*layers[first:], network.head)
        for variable in layer.trainable_variables
    ]


def variable_blocks(network: Network, variables: Sequence[keras.Variable]) -> list[str]:
    """The block that each trained variable belongs to, "head" for those above the backbone."""
    backbone = network.backbone
    block_of = {
        id(variable): name
        for layer, name in zip(leaf_layers(backbone), blocks_of(backbone), strict=True)
        for variable in layer.trainable_variables
    }
    return [block_of.get(id(variable), "head") for variable in variables]


class Row(NamedTuple):
    """A line of the layer table: layers of a block, all of them trained or all frozen.

    Attributes:
        name: of the block.
        layers: their indices as text.
        parameters: how many weights they have.
        trained: how many of those are trained.
    """

    name: str
    layers: str
    parameters: int
    trained: int


def layer_table(network: Network) -> list[Row]:
    """What is frozen and what is trained, block by block."""
    groups: dict[tuple[str, bool], list[int]] = {}
    layers, blocks = leaf_layers(network.backbone), blocks_of(network.backbone)
    for index, (layer, name) in enumerate(zip(layers, blocks, strict=True)):
        if layer.count_params():
            groups.setdefault((name, layer.trainable), []).append(index)
    rows = [
        _row(name, f"{indices[0]}-{indices[-1]}", [layers[index] for index in indices])
        for (name, _), indices in groups.items()
    ]
    return [*rows, _row("head", "", [network.head])]


def blocks_of(backbone: keras.Model) -> list[str]:
    """The block of each layer.

    A layer whose name says nothing, as Keras has given it, belongs to the block of the next one
    that has a name; where none follows, a normalisation or activation to the layer before it.
    """
    blocks: list[str] = []
    pending = ""
    layers = leaf_layers(backbone)
    for layer in reversed(layers):
        pending = pending if _is_unnamed(layer) else block(layer.name)
        blocks.insert(0, pending)
    for index, layer in enumerate(layers):
        if not blocks[index]:
            alone = index == 0 or any("kernel" in weight.name for weight in layer.weights)
            blocks[index] = layer.name if alone else blocks[index - 1]
    return blocks


def block(layer_name: str) -> str:
    """The block that a layer belongs to by its name.

    `block_3_expand_BN` belongs to `block_3`, `Conv_1_bn` and `bn_Conv1` to their convolution.
    """
    if found := _BLOCK.search(layer_name):
        return found[1]
    if found := _OF_MOBILENET.match(layer_name):
        return f"conv_{found[1]}"
    if found := _OF_NASNET.search(layer_name):
        return f"cell_{found[1]}"
    return re.sub("_(conv|bn|layernorm)$", "", layer_name.removeprefix("bn_"))


def _is_unnamed(layer: keras.layers.Layer) -> bool:
    """Whether a layer has the name that Keras gives: that of its class, and a number."""
    words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)
    words = re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()
    return re.fullmatch(rf"{words}(_\d+)?", layer.name) is not None


def _row(name: str, span: str, layers: list[keras.layers.Layer]) -> Row:
    trained = sum(
        math.prod(variable.shape) for layer in layers for variable in layer.trainable_variables
    )
    return Row(name, span, sum(layer.count_params() for layer in layers), trained)
