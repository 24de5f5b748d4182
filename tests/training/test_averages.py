import keras
import numpy as np
import pytest
import tensorflow as tf

from lib.training.averages import Averages


@pytest.fixture
def variables():
    return [keras.Variable([1.0, -2.0]), keras.Variable([[0.1]])]


def values(items):
    return [np.asarray(each).tolist() for each in items]


def test_averages_begin_as_the_weights(variables):
    variables[0].assign([5.0, 5.0])
    averages = Averages(variables, 0.9)
    assert values(averages.averages) == values(variables)


def test_an_update_moves_an_average_by_the_rest_of_the_decay(variables):
    averages = Averages(variables, 0.75)
    update = tf.function(averages.update, autograph=False)
    variables[0].assign([5.0, 2.0])
    update()
    assert averages.averages[0].numpy().tolist() == [2.0, -1.0]  # 1 + 4/4, -2 + 4/4
    update()
    assert averages.averages[0].numpy().tolist() == [2.75, -0.25]  # 2 + 3/4, -1 + 3/4
    assert values(averages.averages)[1] == values(variables)[1]


@pytest.mark.parametrize("raised", [None, RuntimeError, KeyboardInterrupt])
def test_trained_values_come_back_bit_for_bit_also_from_an_error(variables, raised):
    averages = Averages(variables, 0.5)
    trained = [np.float32([np.nan, -0.0]), np.float32([[1 / 3]])]
    for variable, value in zip(variables, trained, strict=True):
        variable.assign(value)
    try:
        with averages.swapped_in():
            assert values(variables) == [[1.0, -2.0], [[np.float32(0.1)]]]
            if raised:
                raise raised
    except (RuntimeError, KeyboardInterrupt):
        pass
    assert [each.numpy().tobytes() for each in variables] == [each.tobytes() for each in trained]
    assert values(averages.averages) == [[1.0, -2.0], [[np.float32(0.1)]]]


def test_averages_go_on_from_a_checkpoint(variables, tmp_path):
    averages = Averages(variables, 0.5)
    variables[0].assign([3.0, 4.0])
    averages.update()
    path = tf.train.Checkpoint(averages=averages).write(str(tmp_path / "saved"))
    again = Averages([keras.Variable([0.0, 0.0]), keras.Variable([[0.0]])], 0.5)
    tf.train.Checkpoint(averages=again).read(path).assert_consumed()
    assert values(again.averages) == values(averages.averages) == [[2.0, 1.0], [[np.float32(0.1)]]]


def test_a_checkpoint_of_averages_does_not_hold_the_weights_again(variables, tmp_path):
    path = tf.train.Checkpoint(averages=Averages(variables, 0.5)).write(str(tmp_path / "saved"))
    names = [name for name, _ in tf.train.list_variables(path) if "VARIABLE_VALUE" in name]
    assert len([name for name in names if name.startswith("averages/")]) == len(variables)
