import itertools
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

from lib.config import Phase
from lib.model.engine import border, cut
from lib.model.folding import followers_of
from lib.model.freezing import blocks_of, first_trained, freeze
from lib.model.interpreters import Unsuitable, interpreted

BATCH = 6
CUTS = {
    "the whole backbone is frozen": None,
    "by default, within a residual branch": 100,
    "at the beginning of a block": "block_2_expand",
    "between convolution and normalisation": "block_13_expand_BN",
    "at the very beginning": 0,
}


def images(count=BATCH):
    return np.random.default_rng(4).integers(0, 256, (count, 32, 32, 3), np.uint8)


def index_of(network, at):
    return first_trained(network.backbone, Phase("phase", thaw="none" if at is None else at))


@pytest.fixture(scope="module")
def engines(shared_networks):
    """Both engines at a cut, of the network as it began."""
    made = {}

    def get(at):
        if at not in made:
            network, weights = shared_networks(2)
            network.model.set_weights(weights)
            index = index_of(network, at)
            made[at] = {kind: cut(network, index, kind, 2) for kind in ("plain", "auto")}
        return made[at]

    return get


def assert_near(actual, expected, tolerance=1e-3):
    scale = np.abs(expected).max()
    assert scale > 0
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("kind", ["plain", "auto"])
def test_of_larger_images_the_middle_is_seen(engines, kind):
    prefix = engines(100)[kind].prefix
    wide = np.random.default_rng(5).integers(0, 256, (3, 40, 40, 3), np.uint8)
    assert np.array_equal(prefix(wide), prefix(wide[:, 4:-4, 4:-4].copy()))


@pytest.mark.parametrize("at", CUTS.values(), ids=CUTS)
def test_both_engines_agree_on_the_features(network, engines, at):
    plain, auto = engines(at)["plain"], engines(at)["auto"]
    expected, found = plain.prefix(images()), auto.prefix(images())
    assert found.shape == expected.shape
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("kind", ["plain", "auto"])
@pytest.mark.parametrize("at", CUTS.values(), ids=CUTS)
def test_features_have_the_shapes_that_the_engine_states(network, engines, at, kind):
    engine = engines(at)[kind]
    for count in (BATCH, 2):
        features = engine.prefix(images(count))
        assert engine.signature.is_compatible_with(features)
        assert engine.signature.shape[0] is None
        assert features.shape == (count, *engine.signature.shape[1:])


@pytest.mark.parametrize("kind", ["plain", "auto"])
@pytest.mark.parametrize("at", CUTS.values(), ids=CUTS)
def test_prefix_and_suffix_and_head_make_the_model(network, engines, at, kind):
    engine = engines(at)[kind]
    logits = network.head(tf.function(engine.suffix)(engine.prefix(images())))
    assert_near(logits, network.model(images().astype(np.float32)))


@pytest.mark.parametrize("at", [at for at in CUTS.values() if at is not None])
def test_both_engines_agree_on_the_gradients(network, engines, at):
    variables = freeze(network, index_of(network, at))[:-2]  # without the head's
    weights = tf.random.stateless_normal([BATCH, 1280], [5, 6])

    def gradients(engine):
        @tf.function
        def compute(features):
            with tf.GradientTape() as tape:
                total = tf.reduce_sum(engine.suffix(features) * weights)
            return tape.gradient(total, [variable.value for variable in variables])

        return compute(engine.prefix(images()))

    plain, auto = gradients(engines(at)["plain"]), gradients(engines(at)["auto"])
    for variable, expected, found in zip(variables, plain, auto, strict=True):
        difference = np.linalg.norm(found - expected)
        assert difference <= 1e-3 * np.linalg.norm(expected), variable.path


@pytest.mark.parametrize("kind", ["plain", "auto"])
def test_the_cut_is_where_a_block_begins_and_the_least_passes(network, engines, kind):
    # Layer 100 is in the middle of block 11, which takes in what block 10 puts out.
    block_10 = network.backbone.get_layer("block_10_project_BN").output
    assert engines(100)[kind].signature.shape[1:] == block_10.shape[1:]


def test_one_tensor_passes_wherever_a_block_begins(network):
    for block in dict.fromkeys(blocks_of(network.backbone)):
        found = border(network, first_trained(network.backbone, Phase("phase", thaw=block)))
        assert len(found.graph.crossings[found.at]) == 1, block


def test_an_image_has_nearly_the_same_features_in_a_smaller_batch(network, engines):
    prefix = engines(100)["plain"].prefix
    np.testing.assert_allclose(prefix(images()[:2]), prefix(images())[:2], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("at", CUTS.values(), ids=CUTS)
def test_an_image_has_the_same_features_whatever_it_is_with(network, engines, at):
    prefix, many = engines(at)["auto"].prefix, images(41)
    together = prefix(many)
    for first, last in ((0, 1), (3, 5), (7, 24), (40, 41)):
        np.testing.assert_array_equal(prefix(many[first:last]), together[first:last])


def test_a_network_of_many_weights_is_converted_in_pieces_that_equal_it(network, monkeypatch):
    found, whole = border(network, None), cut(network, None, "auto", 2).prefix(images())
    ends = [found.narrow, found.at]
    assert found.graph.pieces(*ends) == ends  # of few weights there is one
    monkeypatch.setattr("lib.model.graph._WEIGHTS_A_PIECE", 50_000)
    bounds = found.graph.pieces(*ends)
    assert len(bounds) > 5 and [bounds[0], bounds[-1]] == ends
    parts = [followers_of(found.graph, *part) for part in itertools.pairwise(bounds)]
    assert [i for part in parts for i in part] == list(followers_of(found.graph, *ends))
    assert_near(cut(network, None, "auto", 2).prefix(images()), whole, 1e-5)


def test_what_litert_cannot_run_tensorflow_does_and_a_line_says_so(
    network, engines, monkeypatch, capsys
):
    def refuse(graph):
        raise Unsuitable("ValueError: no such operation")

    monkeypatch.setattr("lib.model.engine.converted", refuse)
    engine = cut(network, 100, "auto", 2)
    assert_near(engine.prefix(images()), engines(100)["plain"].prefix(images()), 1e-5)
    assert not engine.by_image
    said = "computed by TensorFlow, which is slower: ValueError: no such operation"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("factor", [1.01, np.nan])
def test_features_of_litert_are_not_used_if_they_differ(
    network, engines, monkeypatch, capsys, factor
):
    def astray(programs, threads):
        found = interpreted(programs, threads)
        return lambda images: factor * found(images)

    monkeypatch.setattr("lib.model.engine.interpreted", astray)
    engine = cut(network, 100, "auto", 2)
    assert_near(engine.prefix(images()), engines(100)["plain"].prefix(images()), 1e-5)
    assert "is slower: LiteRT's features differ by" in capsys.readouterr().out


def test_where_company_changes_an_images_features_it_goes_alone(network, monkeypatch):
    asked = []

    def swayed(programs, threads, together=8):
        asked.append(together)
        found = interpreted(programs, threads, together)
        return lambda images: found(images) * (1.0 if together == 1 else 1 + 1e-6 * len(images))

    monkeypatch.setattr("lib.model.engine.interpreted", swayed)
    prefix = cut(network, 100, "auto", 2).prefix
    assert asked == [8, 1]
    np.testing.assert_array_equal(prefix(images())[1:2], prefix(images()[1:2]))


def test_results_do_not_depend_on_the_number_of_threads(network):
    few, many = (cut(network, None, "auto", threads).prefix for threads in (1, 5))
    np.testing.assert_array_equal(few(images(12)), many(images(12)))


@pytest.mark.parametrize("kind", ["plain", "auto"])
def test_features_stay_as_they_are_when_others_are_computed(network, engines, kind):
    prefix = engines(100)[kind].prefix
    first = prefix(images())
    before = first.numpy().copy()
    prefix(255 - images())
    np.testing.assert_array_equal(first, before)


@pytest.mark.parametrize("kind", ["plain", "auto"])
def test_bytes_and_floats_give_the_same_features(network, engines, kind):
    prefix = engines(100)[kind].prefix
    as_floats = prefix(tf.constant(images(), tf.float32))
    np.testing.assert_array_equal(prefix(images()), as_floats)


@pytest.mark.parametrize("kind", ["plain", "auto"])
def test_threads_may_ask_at_once(network, engines, kind):
    prefix = engines(100)[kind].prefix
    batches = [images() // divisor for divisor in range(1, 7)]
    expected = [prefix(batch).numpy() for batch in batches]
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(prefix, batches))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority of their own")
@pytest.mark.parametrize("at", [None, 100], ids=["head", "fine-tuning"])
def test_threads_of_the_prefix_have_the_priority_of_the_process(network, at):
    before = set(threading.enumerate())
    engine = cut(network, at, "auto", 2)  # kept, since its threads end with it
    engine.prefix(images())
    new = [thread.native_id for thread in set(threading.enumerate()) - before]
    # One thread or two: a pool begins another only where none is idle.
    assert {os.getpriority(os.PRIO_PROCESS, number) for number in new} == {os.nice(0)}


def test_an_image_that_does_not_fit_leaves_the_engine_as_it_was(engines):
    prefix = engines(100)["auto"].prefix
    for _ in range(4):  # more often than there are interpreters
        with pytest.raises(ValueError, match="Dimension mismatch"):
            prefix(np.zeros((1, 16, 16, 3), np.uint8))
    assert np.isfinite(prefix(images())).all()


@pytest.mark.parametrize("kind", ["plain", "auto"])
def test_the_suffix_follows_the_weights_and_the_prefix_keeps_its_own(network, engines, kind):
    engine = engines(100)[kind]
    features = engine.prefix(images())
    pooled = engine.suffix(features).numpy()
    network.backbone.set_weights([value * 1.1 for value in network.backbone.get_weights()])
    assert np.abs(engine.suffix(features) - pooled).max() > 1e-3
    if kind == "auto":
        np.testing.assert_array_equal(engine.prefix(images()), features)
