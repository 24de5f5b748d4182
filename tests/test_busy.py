"""The busy processes that `benchmarks.busy` measures next to."""

import os
import sys

import pytest

from benchmarks.busy import busy


@pytest.mark.skipif(sys.platform == "win32", reason="processes have another kind of priority")
def test_busy_processes_compete_at_the_same_priority_in_the_same_session():
    with busy(2) as processes:
        assert len({process.pid for process in processes}) == 2
        for process in processes:
            assert process.poll() is None
            assert os.getpriority(os.PRIO_PROCESS, process.pid) == os.nice(0)
            assert os.getsid(process.pid) == os.getsid(0)


@pytest.mark.parametrize("error", [None, RuntimeError])
def test_busy_processes_end_with_the_block(error):
    processes = []
    try:
        with busy(2) as processes:
            if error:
                raise error
    except RuntimeError:
        pass
    assert [process.poll() is None for process in processes] == [False, False]
