import math

import pytest

from lib.config import Phase
from lib.errors import UserError
from lib.model.freezing import (
    first_trained,
    freeze,
    layer_table,
    variable_blocks,
)


def first(network, thaw):
    return first_trained(network.backbone, Phase("top", thaw=thaw))


def test_the_first_trained_layer_is_given_by_index_or_by_name(network):
    names = [layer.name for layer in network.backbone.layers]
    assert first(network, 100) == 100
    assert first(network, "block_13_expand") == names.index("block_13_expand")
    assert first(network, 0) == 0
    assert first(network, len(names) - 1) == len(names) - 1


def test_it_is_given_by_a_block_too(network):
    names = [layer.name for layer in network.backbone.layers]
    assert first(network, "block_14") == names.index("block_14_expand")
    assert first(network, "Conv_1") == names.index("Conv_1")


def test_none_freezes_the_backbone_and_all_thaws_it(network):
    assert first(network, "none") is None
    assert first(network, "all") == 0


@pytest.mark.parametrize(
    ("share", "index"), [("35%", 100), ("100%", 0), ("50%", 77), ("0.1%", 153), ("12.5%", 135)]
)
def test_a_share_is_that_of_the_layers_at_the_top(network, share, index):
    assert first(network, share) == index


@pytest.mark.parametrize("index", [-1, 154, 999])
def test_an_index_beyond_the_layers_is_refused_with_the_range(network, index):
    with pytest.raises(UserError, match=rf"--top_thaw={index}: .* layers 0 to 153;"):
        first(network, index)


@pytest.mark.parametrize("share", ["0%", "101%"])
def test_a_share_of_none_or_more_than_all_is_refused(network, share):
    with pytest.raises(UserError, match=rf"--top_thaw={share}: expected a share above 0%"):
        first(network, share)


def test_an_unknown_name_is_refused_with_near_ones(network):
    with pytest.raises(UserError, match=r"--top_thaw=blok_13_expand.*block_13_expand\b"):
        first(network, "blok_13_expand")
    with pytest.raises(UserError, match=r"--top_thaw=block_17.*block_1"):
        first(network, "block_17")


def test_a_name_that_resembles_nothing_is_refused_with_what_is_possible(network):
    with pytest.raises(UserError, match=r"--top_thaw=zzz.* expected none, all, an index or 35%"):
        first(network, "zzz")


def test_each_trained_variable_belongs_to_a_block(network):
    variables = freeze(network, first(network, "block_16"))
    blocks = variable_blocks(network, variables)
    assert list(dict.fromkeys(blocks)) == ["block_16", "Conv_1", "head"]
    assert blocks.count("head") == 2


def test_a_frozen_backbone_leaves_the_head_alone_to_be_trained(network):
    assert freeze(network, None) == network.head.trainable_variables
    assert not any(layer.trainable for layer in network.backbone.layers)


def test_layers_are_trained_from_the_given_one_on(network):
    freeze(network, 100)
    assert [layer.trainable for layer in network.backbone.layers] == [False] * 100 + [True] * 54


def test_the_trained_variables_are_those_of_thawed_layers_and_head_but_no_statistics(network):
    expected = [
        variable.path
        for layer in [*network.backbone.layers[100:], network.head]
        for variable in layer.variables
        if "moving_" not in variable.path
    ]
    assert [variable.path for variable in freeze(network, 100)] == expected
    assert any("gamma" in path for path in expected)


def test_freezing_again_takes_back_what_was_thawed(network):
    freeze(network, 0)
    assert len(freeze(network, None)) == 2


def test_the_table_accounts_for_every_weight(network):
    freeze(network, None)
    rows = layer_table(network)
    assert sum(row.parameters for row in rows) == network.model.count_params()
    assert [row.name for row in rows if row.trained] == ["head"]


@pytest.mark.parametrize("trained_from", [0, 100, 153])
def test_the_table_counts_what_is_trained(network, trained_from):
    variables = freeze(network, trained_from)
    rows = layer_table(network)
    assert sum(row.trained for row in rows) == sum(math.prod(v.shape) for v in variables)
    assert sum(row.parameters for row in rows) == network.model.count_params()


def test_a_block_that_is_frozen_in_part_has_a_line_for_each_part(network):
    freeze(network, 100)
    frozen, trained = (row for row in layer_table(network) if row.name == "block_11")
    assert (frozen.layers, frozen.trained) == ("98-99", 0)
    assert trained.layers == "101-105"
    # Mean and variance of a normalisation are weights that are never trained.
    statistics = 2 * sum(
        network.backbone.get_layer(f"block_11_{name}_BN").gamma.shape[0]
        for name in ("depthwise", "project")
    )
    assert trained.parameters - trained.trained == statistics


def test_a_convolution_and_its_normalisation_share_a_line(network):
    freeze(network, None)
    lines = {row.name: row.layers for row in layer_table(network)}
    assert lines["Conv1"] == "1-2"
    assert lines["Conv_1"] == "151-152"
    assert lines["block_16"] == "143-150"
