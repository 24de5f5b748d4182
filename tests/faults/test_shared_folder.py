"""A run folder belongs to one process at a time, and says so when its surroundings change."""

import json
import os
import signal

import pytest

from lib.runs import folder as run_folder


def test_a_second_run_is_refused_at_once_and_a_killed_one_blocks_nobody(reference, tmp_path):
    holder = reference.program.launch(tmp_path, fault="locked=SIGSTOP")
    try:
        os.waitpid(holder.pid, os.WUNTRACED)  # it holds the folder, and itself is held
        second = reference.program.run(tmp_path)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    assert second.code == 1
    assert second.stderr == (
        f"train.py: error: --workdir={tmp_path} is in use by process {holder.pid}: wait for it,"
        " stop it, or give another folder\n"
    )
    assert reference.program.run(tmp_path, fault="locked=SIGTERM").code == 143  # it has the lock


@pytest.mark.parametrize(
    ("what", "then"),
    [("tensorflow", "2.0.0"), ("machine", "vax")],
)
def test_other_surroundings_are_said_and_it_goes_on(reference, tmp_path, what, then):
    saved = json.loads((reference.folder / run_folder.CONFIG).read_text())
    now = saved["made_by"][what]
    saved["made_by"][what] = then
    (tmp_path / run_folder.CONFIG).write_text(json.dumps(saved))
    ended = reference.program.run(tmp_path, fault="tensorflow=SIGTERM")
    assert ended.code == 143
    assert (
        f"warning: the run began elsewhere ({what} {then}, now {now}): its results may differ in"
        " the last bits" in ended.stdout
    )
