import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from lib.errors import UserError
from lib.system.exact_sums import require_exact_sums
from lib.training.optimizers import (
    OPTIMIZERS,
    SCHEDULES,
    apply_scaled,
    build_optimizer,
    layer_scales,
    make_schedule,
)


def test_every_keras_optimizer_that_works_on_its_own_has_a_name():
    assert {"adam", "adamw", "rmsprop", "sgd", "adagrad", "nadam", "lion"} <= set(OPTIMIZERS)
    assert not {"optimizer", "lossscaleoptimizer"} & set(OPTIMIZERS)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_optimizer_that_is_offered_moves_a_weight_downhill(name):
    variable = keras.Variable(np.full((4, 4), 3.0, np.float32))
    optimizer = build_optimizer(f"{name}(clipnorm=100)", 0.01)
    optimizer.build([variable])
    step = tf.function(lambda g: optimizer.apply([g], [variable]), autograph=False)
    step = step.get_concrete_function(tf.TensorSpec((4, 4)))
    require_exact_sums(step)
    step(tf.constant(2 * variable.numpy()))
    assert variable.numpy().sum() < 48.0
    assert np.isfinite(variable.numpy()).all()


def test_capitals_do_not_matter():
    assert isinstance(build_optimizer("RMSprop", 0.1), keras.optimizers.RMSprop)
    assert isinstance(build_optimizer("AdamW(beta_1=0.8)", 0.1), keras.optimizers.AdamW)


def test_an_optimizer_takes_its_options():
    sgd = build_optimizer("sgd(momentum=0.9, nesterov=True)", 0.1)
    assert (sgd.momentum, sgd.nesterov) == (0.9, True)
    adamw = build_optimizer("adamw(weight_decay=0.05, global_clipnorm=1)", 0.1)
    assert (adamw.weight_decay, adamw.global_clipnorm) == (0.05, 1.0)
    assert build_optimizer("sgd(momentum=0)", 0.1).momentum == 0.0  # Keras insists on a float


def test_an_unknown_name_is_refused_with_near_ones():
    with pytest.raises(UserError, match="no optimizer 'rmsprob'; did you mean rmsprop"):
        build_optimizer("rmsprob", 0.1)
    with pytest.raises(UserError, match=r"expected one of .*adam.*sgd"):
        build_optimizer("xyz", 0.1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sgd(momentun=0.9)", r"unexpected keyword.*expected sgd\(\*, momentum=0.0, nesterov"),
        ("sgd(0.9)", r"too many positional.*expected sgd\("),
        ("sgd(momentum='x')", "is not of the kind of 0.0"),
        ("sgd(momentum=2.0)", "momentum.* must be a float between"),
        ("adam(clipnorm=1, clipvalue=1)", "clipnorm"),
        ("adam(clipnorm='x')", "clipnorm='x'; expected a positive number"),
        ("adam(global_clipnorm=-1)", "global_clipnorm=-1"),
        ("adam(clipvalue=0)", "clipvalue=0"),
        ("sgd(weight_decay=True)", "weight_decay=True"),
        ("sgd(gradient_accumulation_steps=1.5)", "expected a whole number"),
        ("sgd(gradient_accumulation_steps=1)", "gradient_accumulation_steps"),
        (
            "adam(learning_rate=0.1)",
            "learning_rate cannot be given here; the rate and its schedule",
        ),
        ("adam(use_ema=True)", "use_ema cannot be given here; .*ema"),
        ("adam(ema_momentum=0.9)", "ema_momentum cannot be given here"),
        ("adam(loss_scale_factor=2.0)", "loss_scale_factor cannot be given here; it divides"),
        ("adam(name='x')", "name cannot be given here"),
        ("adam|sgd", "expected one name"),
        ("adam(", "cannot be read"),
    ],
)
def test_what_an_optimizer_does_not_take_is_refused_in_a_line(text, said):
    with pytest.raises(UserError, match=said) as error:
        build_optimizer(text, 0.1)
    assert "\n" not in str(error.value)


def test_an_optimizer_is_fresh_each_time():
    first, second = build_optimizer("adam", 0.1), build_optimizer("adam", 0.1)
    variable = keras.Variable([1.0])
    first.build([variable])
    first.apply([tf.constant([1.0])], [variable])
    assert first is not second
    assert int(second.iterations) == 0 and not second.built


@pytest.mark.parametrize("stopped_after", [1, 2, 3])
def test_accumulated_gradients_go_on_from_a_checkpoint(stopped_after, tmp_path):
    text = "adam(gradient_accumulation_steps=3, weight_decay=0.1)"

    def train(variable, optimizer, steps):
        @tf.function(autograph=False)
        def step(gradient):
            apply_scaled(optimizer, [gradient], [variable], [0.5])

        for number in steps:
            step(tf.constant([float(number), 1.0]))

    def begun():
        variable, optimizer = keras.Variable([1.0, 2.0]), build_optimizer(text, 0.1)
        optimizer.build([variable])
        return variable, optimizer, tf.train.Checkpoint(optimizer=optimizer, weight=variable.value)

    whole, optimizer, _ = begun()
    train(whole, optimizer, range(7))
    before, optimizer, saved = begun()
    train(before, optimizer, range(stopped_after))
    path = saved.write(str(tmp_path / "saved"))
    after, optimizer, restored = begun()
    restored.read(path).assert_existing_objects_matched()
    train(after, optimizer, range(stopped_after, 7))
    assert after.numpy().tobytes() == whole.numpy().tobytes()
    assert whole.numpy().tolist() != [1.0, 2.0]


GRADIENTS = np.float32([[0.5, -2.0], [1.5, 0.25], [-0.75, 4.0]])


def trained(text, scale, rate=0.1):
    """A variable after an update for each of the gradients, and another one of scale 1."""
    scaled, unscaled = keras.Variable([1.0, -3.0]), keras.Variable([1.0, -3.0])
    optimizer = build_optimizer(text, rate)
    optimizer.build([scaled, unscaled])

    @tf.function(autograph=False)
    def step(gradient):
        apply_scaled(optimizer, [gradient, gradient], [scaled, unscaled], [scale, 1.0])

    for gradient in GRADIENTS:
        step(tf.constant(gradient))
    return scaled.numpy(), unscaled.numpy()


def test_scaled_sgd_is_sgd_of_a_scaled_rate():
    scaled, _ = trained("sgd", 0.25)
    np.testing.assert_allclose(scaled, [1.0, -3.0] - 0.25 * 0.1 * GRADIENTS.sum(0), rtol=1e-6)


@pytest.mark.parametrize(("text", "decay"), [("adam", 0.0), ("adamw(weight_decay=0.5)", 0.5)])
@pytest.mark.parametrize("scale", [0.25, 1.0, 0.0])
def test_scaled_adam_makes_a_part_of_adams_change(text, decay, scale):
    """Kingma and Ba, 2015, algorithm 1, with the decoupled decay of Loshchilov and Hutter, 2019."""
    weight, mean, square = np.float64([1.0, -3.0]), 0.0, 0.0
    for number, gradient in enumerate(GRADIENTS.astype(np.float64), start=1):
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        unbiased = mean / (1 - 0.9**number) / (np.sqrt(square / (1 - 0.999**number)) + 1e-7)
        weight = weight - scale * 0.1 * (unbiased + decay * weight)
    np.testing.assert_allclose(trained(text, scale)[0], weight, rtol=1e-4)


@pytest.mark.parametrize("text", ["sgd(momentum=0.9)", "adamw", "rmsprop(weight_decay=0.1)"])
def test_variables_of_scale_one_have_the_optimizers_own_bits(text):
    variable, optimizer = keras.Variable([1.0, -3.0]), build_optimizer(text, 0.1)
    optimizer.build([variable])
    step = tf.function(lambda gradient: optimizer.apply([gradient], [variable]), autograph=False)
    for gradient in GRADIENTS:
        step(tf.constant(gradient))
    assert trained(text, 0.5)[1].tobytes() == variable.numpy().tobytes()


def test_a_block_is_scaled_by_the_number_of_blocks_above_it():
    blocks = ["b11", "b11", "b12", "Conv_1", "Conv_1", "head", "head"]
    assert layer_scales(blocks, 0.5) == [0.125, 0.125, 0.25, 0.5, 0.5, 1.0, 1.0]
    assert layer_scales(["head"], 0.5) == [1.0]
    assert layer_scales(blocks, 1.0) == [1.0] * 7


@pytest.mark.parametrize("decay", [0.0, -0.5, 1.5, float("nan")])
def test_a_layer_decay_is_above_zero_and_at_most_one(decay):
    with pytest.raises(UserError, match="expected a layer decay above 0"):
        layer_scales(["head"], decay)


def course(text, steps, peak=0.5, beyond=0):
    rate = make_schedule(text, steps, peak)
    return np.array([float(rate(update)) for update in range(steps + 1 + beyond)])


def test_a_constant_rate_is_the_number_itself():
    assert make_schedule("constant", 100, 1e-4) == 1e-4
    assert float(build_optimizer("adam", 1e-4).learning_rate) == pytest.approx(1e-4)


def test_the_cosine_rises_over_a_tenth_to_the_rate_and_falls_to_zero():
    found = course("cosine", 200)
    np.testing.assert_allclose(found[:21], np.linspace(0, 0.5, 21), atol=1e-6)
    expected = 0.25 * (1 + np.cos(np.linspace(0, np.pi, 181)))
    np.testing.assert_allclose(found[20:], expected, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 4, 7, 200])
def test_the_cosine_is_kerass_own_to_the_last_bit(steps):
    warm_up = round(0.1 * steps)
    keras_own = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warm_up else 1e-4,
        decay_steps=steps - warm_up,
        warmup_target=1e-4 if warm_up else None,
        warmup_steps=warm_up,
    )
    expected = [float(keras_own(update)) for update in range(steps + 1)]
    assert course("cosine", steps, 1e-4).tolist() == expected


def test_a_phase_too_short_for_a_warm_up_begins_at_the_peak():
    assert course("cosine", 4)[[0, 2, 4]].tolist() == pytest.approx([0.5, 0.25, 0.0])


def test_the_cosine_warms_up_as_long_as_it_is_asked_to():
    found = course("cosine(warmup=0.5)", 8)
    assert found[[0, 2, 4, 8]].tolist() == pytest.approx([0.0, 0.25, 0.5, 0.0], abs=1e-7)
    assert course("cosine(warmup=0.0)", 100)[0] == 0.5


def test_the_linear_schedule_falls_in_a_straight_line_to_zero():
    np.testing.assert_allclose(course("linear", 10), np.linspace(0.5, 0, 11), atol=1e-7)
    found = course("linear(warmup=0.2)", 10, beyond=2)
    rising, falling = np.linspace(0, 0.5, 3)[:2], np.linspace(0.5, 0, 9)
    np.testing.assert_allclose(found, [*rising, *falling, 0, 0], atol=1e-7)


def test_the_step_schedule_multiplies_the_rate_after_each_part():
    found = course("step(every=0.25, factor=0.5)", 8)
    np.testing.assert_allclose(found[:8], 0.5 ** np.repeat([1, 2, 3, 4], 2), rtol=1e-6)


@pytest.mark.parametrize("text", ["constant", "cosine", "linear(warmup=0.5)", "step(1.0)"])
@pytest.mark.parametrize("steps", [0, 1])
def test_a_phase_of_hardly_any_steps_has_a_schedule(text, steps):
    rate = make_schedule(text, steps, 0.5)
    assert np.isfinite(float(rate(0) if callable(rate) else rate))


def test_the_optimizer_follows_a_schedule_by_its_own_count_of_steps(register):
    @register
    def halves(steps, peak, every=0.25):
        return lambda update: peak * 0.5 ** tf.floor(update / (every * steps))

    for text in ("cosine", "halves(every=0.5)"):
        rate = make_schedule(text, 4, 0.5)
        variable, optimizer = keras.Variable([0.0]), build_optimizer("sgd", rate)
        optimizer.build([variable])
        apply = functools.partial(optimizer.apply, trainable_variables=[variable])
        step = tf.function(lambda apply=apply: apply([tf.ones([1])]), autograph=False)
        moved = []
        for _ in range(4):
            before = variable.numpy()
            step()
            moved.append(float(before[0] - variable.numpy()[0]))
        assert moved == pytest.approx([float(rate(update)) for update in range(4)])


@pytest.fixture
def register(monkeypatch):
    """Registers for the length of a test."""
    monkeypatch.setattr(SCHEDULES, "_functions", dict(SCHEDULES._functions))
    return SCHEDULES.register


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cosin", "no schedule 'cosin'; did you mean cosine"),
        ("cosine(warm_up=0.1)", r"expected cosine\(warmup=0.1\)"),
        ("cosine(warmup=1.5)", "warmup=1.5: expected a part of the phase"),
        ("linear(-0.1)", "warmup=-0.1"),
        ("step(every=0)", "every=0: expected a part"),
        ("step(factor=-1)", "factor=-1"),
        ("constant(0.1)", "too many positional"),
    ],
)
def test_what_a_schedule_does_not_take_is_refused_in_a_line(text, said):
    with pytest.raises(UserError, match=said) as error:
        make_schedule(text, 10, 0.1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (None, "returned None; expected a function"),
        (True, "returned True"),
        (float("nan"), "gives the rate nan for update 0"),
        (lambda update: tf.constant(0.1, tf.float64), "gives float64"),
        (lambda update: update * [1.0, 2.0], r"gives float32 \(2,\)"),
        (lambda update: -update, "gives the rate -9.0 for update 9"),
        (lambda update: 0.1 if update < 3 else 0.2, "odd: OperatorNotAllowedInGraphError"),
        (lambda update: nothing, "odd: NameError"),  # noqa: F821
    ],
)
def test_a_schedule_that_gives_no_rate_is_refused(register, returned, said):
    @register
    def odd(steps, peak):
        return returned

    with pytest.raises(UserError, match=said) as error:
        make_schedule("odd", 10, 0.1)
    assert "\n" not in str(error.value)


def test_a_schedule_may_return_a_number_or_a_keras_schedule(register):
    @register
    def number(steps, peak):
        return peak / 2

    @register
    def own(steps, peak):
        return keras.optimizers.schedules.InverseTimeDecay(peak, steps, 1.0)

    assert make_schedule("number", 10, 0.5) == 0.25
    assert float(make_schedule("own", 10, 0.5)(10)) == 0.25
