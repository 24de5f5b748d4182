import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from lib.config import Config
from lib.errors import UserError
from lib.training.optimizers import build_optimizer, learning_rate, names

HEAD = Config().head


def of(name, schedule="constant", rate=0.01):
    return dataclasses.replace(HEAD, optimizer=name, schedule=schedule, learning_rate=rate)


def test_every_keras_optimizer_that_works_on_its_own_has_a_name():
    assert {"adam", "adamw", "rmsprop", "sgd", "adagrad", "nadam", "lion"} <= set(names())
    assert not {"optimizer", "lossscaleoptimizer"} & set(names())


@pytest.mark.parametrize("name", sorted(names()))
def test_every_optimizer_that_is_offered_moves_a_weight_downhill(name):
    variable = keras.Variable(np.full((4, 4), 3.0, np.float32))
    optimizer = build_optimizer(of(name), 0.01)
    optimizer.build([variable])
    optimizer.apply([tf.constant(2 * variable.numpy())], [variable])
    assert variable.numpy().sum() < 48.0
    assert np.isfinite(variable.numpy()).all()


def test_capitals_do_not_matter():
    assert isinstance(build_optimizer(of("RMSprop"), 0.1), keras.optimizers.RMSprop)
    assert isinstance(build_optimizer(of("adam"), 0.1), keras.optimizers.Adam)


def test_a_misspelt_name_is_refused_with_near_ones():
    with pytest.raises(UserError, match=r"--head_optimizer=rmsprob: .* did you mean rmsprop"):
        build_optimizer(of("rmsprob"), 0.1)


def test_an_unknown_name_is_refused_with_all_that_there_are():
    with pytest.raises(UserError, match=r"expected one of .*adam.*sgd") as error:
        build_optimizer(of("xyz"), 0.1)
    assert "\n" not in str(error.value)


def test_the_error_names_the_flag_of_the_phase():
    phase = dataclasses.replace(Config().finetune, optimizer="nope")
    with pytest.raises(UserError, match="--finetune_optimizer=nope"):
        build_optimizer(phase, 0.1)


def test_an_optimizer_is_fresh_each_time():
    first, second = build_optimizer(of("adam"), 0.1), build_optimizer(of("adam"), 0.1)
    variable = keras.Variable([1.0])
    first.build([variable])
    first.apply([tf.constant([1.0])], [variable])
    assert first is not second
    assert int(second.iterations) == 0 and not second.built


def test_a_constant_rate_is_the_number_itself():
    assert learning_rate(of("adam", rate=1e-4), 100) == 1e-4


def test_the_optimizer_has_the_rate_that_it_is_given():
    rate = learning_rate(of("adam", rate=1e-4), 100)
    assert float(build_optimizer(HEAD, rate).learning_rate) == pytest.approx(1e-4)


def test_the_cosine_rises_over_a_tenth_to_the_rate_and_falls_to_zero():
    rate = learning_rate(of("adam", "cosine", rate=0.5), 200)
    course = np.array([float(rate(step)) for step in range(201)])
    np.testing.assert_allclose(course[:21], np.linspace(0, 0.5, 21), atol=1e-6)
    expected = 0.25 * (1 + np.cos(np.linspace(0, np.pi, 181)))
    np.testing.assert_allclose(course[20:], expected, atol=1e-6)


def test_a_phase_too_short_for_a_warm_up_begins_at_the_peak():
    rate = learning_rate(of("adam", "cosine", rate=0.5), 4)
    assert [float(rate(step)) for step in (0, 2, 4)] == pytest.approx([0.5, 0.25, 0.0])


def test_the_optimizer_follows_the_cosine_by_its_own_count_of_steps():
    rate = learning_rate(of("sgd", "cosine", rate=0.5), 4)
    variable = keras.Variable([0.0])
    optimizer = build_optimizer(of("sgd"), rate)
    optimizer.build([variable])
    moved = []
    for _ in range(4):
        before = variable.numpy()
        optimizer.apply([tf.constant([1.0])], [variable])
        moved.append(float(before[0] - variable.numpy()[0]))
    assert moved == pytest.approx([float(rate(step)) for step in range(4)])
