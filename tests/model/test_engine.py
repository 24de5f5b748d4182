import numpy as np
import pytest
import tensorflow as tf

from lib.model.engine import cut
from lib.model.freezing import freeze, layer_index

BATCH = 6
CUTS = {
    "the whole backbone is frozen": None,
    "by default, across a residual branch": 100,
    "across another one": "block_2_depthwise",
    "between convolution and normalisation": "block_13_expand_BN",
    "at the very beginning": 0,
}


def pictures(count=BATCH):
    return np.random.default_rng(4).integers(0, 256, (count, 32, 32, 3), np.uint8)


def index_of(network, at):
    return None if at is None else layer_index(network.backbone, at)


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


@pytest.mark.parametrize("at", CUTS.values(), ids=CUTS)
def test_both_engines_agree_on_the_features(network, engines, at):
    plain, auto = engines(at)["plain"], engines(at)["auto"]
    expected, found = plain.prefix(pictures()), auto.prefix(pictures())
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert np.abs(other).max() > 0.1
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-3)


@pytest.mark.parametrize("kind", ["plain", "auto"])
@pytest.mark.parametrize("at", CUTS.values(), ids=CUTS)
def test_features_have_the_shapes_that_the_engine_states(network, engines, at, kind):
    engine = engines(at)[kind]
    for count in (BATCH, 2):
        for feature, spec in zip(engine.prefix(pictures(count)), engine.signature, strict=True):
            assert spec.is_compatible_with(feature)
            assert spec.shape[0] is None
            assert feature.shape == (count, *spec.shape[1:])


@pytest.mark.parametrize("kind", ["plain", "auto"])
@pytest.mark.parametrize("at", CUTS.values(), ids=CUTS)
def test_prefix_and_suffix_and_head_make_the_model(network, engines, at, kind):
    engine = engines(at)[kind]
    logits = network.head(tf.function(engine.suffix)(engine.prefix(pictures())))
    assert_near(logits, network.model(pictures().astype(np.float32)))


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

        return compute(engine.prefix(pictures()))

    plain, auto = gradients(engines(at)["plain"]), gradients(engines(at)["auto"])
    for variable, expected, found in zip(variables, plain, auto, strict=True):
        difference = np.linalg.norm(found - expected)
        assert difference <= 1e-3 * np.linalg.norm(expected), variable.path


def test_a_cut_across_a_branch_hands_over_both_of_its_tensors(engines):
    assert len(engines("block_2_depthwise")["plain"].signature) == 2
    assert len(engines("block_13_expand_BN")["plain"].signature) == 1


@pytest.mark.parametrize("kind", ["plain", "auto"])
def test_a_picture_has_the_same_features_in_a_smaller_batch(network, engines, kind):
    prefix = engines(100)[kind].prefix
    for part, whole in zip(prefix(pictures()[:2]), prefix(pictures()), strict=True):
        np.testing.assert_allclose(part, whole[:2], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["plain", "auto"])
def test_features_stay_as_they_are_when_others_are_computed(network, engines, kind):
    prefix = engines(100)[kind].prefix
    first = prefix(pictures())[0]
    before = first.numpy().copy()
    prefix(255 - pictures())
    np.testing.assert_array_equal(first, before)


@pytest.mark.parametrize("kind", ["plain", "auto"])
def test_bytes_and_floats_give_the_same_features(network, engines, kind):
    prefix = engines(100)[kind].prefix
    as_floats = prefix(tf.constant(pictures(), tf.float32))
    np.testing.assert_array_equal(prefix(pictures())[0], as_floats[0])


@pytest.mark.parametrize("kind", ["plain", "auto"])
def test_the_suffix_follows_the_weights_and_the_prefix_keeps_its_own(network, engines, kind):
    engine = engines(100)[kind]
    features = engine.prefix(pictures())
    pooled = engine.suffix(features).numpy()
    network.backbone.set_weights([value * 1.1 for value in network.backbone.get_weights()])
    assert np.abs(engine.suffix(features) - pooled).max() > 1e-3
    if kind == "auto":
        np.testing.assert_array_equal(engine.prefix(pictures())[0], features[0])
