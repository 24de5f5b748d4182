import pytest
import tensorflow as tf

from lib.errors import reason


def test_a_reason_is_one_line():
    assert reason(OSError(28, "No space left\non device")) == "[Errno 28] No space left on device"


@pytest.mark.parametrize("graph", [False, True], ids=["at once", "in a graph"])
def test_of_tensorflows_errors_what_happened_is_kept_and_where_is_not(graph, tmp_path):
    missing = str(tmp_path / "missing")
    read = tf.function(tf.io.read_file) if graph else tf.io.read_file
    with pytest.raises(tf.errors.NotFoundError) as caught:
        read(tf.constant(missing))
    assert reason(caught.value) == f"{missing}; No such file or directory"
