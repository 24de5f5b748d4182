"""Freezes and thaws layers, and lists which are trained."""

import difflib
import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import keras

from lib.config import Phase, setting
from lib.errors import UserError
from lib.model.network import Network


def first_trained(backbone: keras.Model, phase: Phase) -> int | None:
    """The index of the backbone's first layer that a phase trains; None where it freezes all.

    `phase.thaw` is `none`, `all`, the index or the name of a layer, the name of a block, or the top
    share of the layers in per cent: `35%` are the last 54 of 154.

    Raises:
        UserError: it names nothing; near names are listed.
    """
    thaw, layers = phase.thaw, [layer.name for layer in backbone.layers]
    received = setting(f"{phase.name}_thaw", thaw)
    if thaw == "none":
        return None
    if thaw == "all":
        return 0
    if isinstance(thaw, int):
        if not 0 <= thaw < len(layers):
            raise UserError(
                f"{received}: the backbone has layers 0 to {len(layers) - 1}; give one of these, or"
                " the name of a layer or block such as block_13"
            )
        return thaw
    if share := re.fullmatch(r"(\d+(?:\.\d*)?)%", thaw):
        if not 0 < float(share[1]) <= 100:
            raise UserError(f"{received}: expected a share above 0%, at most 100%")
        return len(layers) - max(1, round(len(layers) * float(share[1]) / 100))
    if thaw in layers:
        return layers.index(thaw)
    blocks = [block(layer) for layer in layers]
    if thaw in blocks:
        return blocks.index(thaw)
    near = difflib.get_close_matches(thaw, {*layers, *blocks}, n=4, cutoff=0.4)
    hint = f"near it: {', '.join(sorted(near))}" if near else "expected none, all, an index or 35%"
    raise UserError(f"{received}: the backbone has no layer or block of that name; {hint}")


def freeze(network: Network, trained_from: int | None) -> list[keras.Variable]:
    """Freezes the backbone below a layer and thaws it from there on.

    Args:
        network: whose layers' `trainable` is set.
        trained_from: index of the first trained layer; None freezes the whole backbone.

    Returns:
        The trained variables: those of the thawed layers in their order, then the head's.
    """
    layers = network.backbone.layers
    first = len(layers) if trained_from is None else trained_from
    for index, layer in enumerate(layers):
        layer.trainable = index >= first
    return [
        variable
        for layer in (*layers[first:], network.head)
        for variable in layer.trainable_variables
    ]


def variable_blocks(network: Network, variables: Sequence[keras.Variable]) -> list[str]:
    """The block that each trained variable belongs to, "head" for those above the backbone."""
    block_of = {
        id(variable): block(layer.name)
        for layer in network.backbone.layers
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
    layers = network.backbone.layers
    for index, layer in enumerate(layers):
        if layer.count_params():
            groups.setdefault((block(layer.name), layer.trainable), []).append(index)
    rows = [
        _row(name, f"{indices[0]}-{indices[-1]}", [layers[index] for index in indices])
        for (name, _), indices in groups.items()
    ]
    return [*rows, _row("head", "", [network.head])]


def block(layer_name: str) -> str:
    """The block that a layer belongs to; a single tensor passes from one to the next.

    `block_3_expand_BN` belongs to `block_3`, `Conv_1_bn` and `bn_Conv1` to their convolution.
    """
    if layer_name.startswith("block_"):
        return "_".join(layer_name.split("_")[:2])
    if layer_name.startswith("expanded_conv"):
        return "expanded_conv"
    return layer_name.removeprefix("bn_").removesuffix("_bn")


def _row(name: str, span: str, layers: list[keras.layers.Layer]) -> Row:
    trained = sum(
        math.prod(variable.shape) for layer in layers for variable in layer.trainable_variables
    )
    return Row(name, span, sum(layer.count_params() for layer in layers), trained)
