"""A study of the real train.py: shared heads, kills, and the best run again from its flag file."""

import json
import re
import subprocess
import sys
import time

import pytest

from tests.study.program import ROOT, kill, start, study, table


@pytest.fixture(scope="module")
def asked(two_classes, weight_file):
    return (
        "--space=finetune_learning_rate=log(1e-5, 1e-2)",
        "--trials=2",
        "--",
        f"--dataset={two_classes}",
        f"--weights={weight_file}",
        *("--image_size=32", "--alpha=0.35", "--batch_size=4", "--head_learning_rate=0.01"),
        *("--head_epochs=1", "--finetune_epochs=2", "--checkpoint_every=2", "--threads=2"),
    )


@pytest.fixture(scope="module")
def undisturbed(asked, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real") / "study"
    return folder, study(f"--study={folder}", *asked, real=True)


def test_a_study_that_was_killed_ends_in_the_same_weights(undisturbed, asked, tmp_path):
    _, said = undisturbed
    folder = tmp_path / "study"
    for run in ("head", "trial-000"):  # in the middle of either
        process = start(f"--study={folder}", *asked, real=True)
        while not list(folder.glob(f"runs/{run}/checkpoints/*.json")):
            assert process.poll() is None
            time.sleep(0.05)
        kill(process)
    again = study(f"--study={folder}", *asked, real=True)
    assert table(again) == table(said)


def test_the_flag_file_alone_gives_the_best_run_again(undisturbed, tmp_path):
    folder, _ = undisturbed
    flags = [f"--flagfile={folder / 'best.cfg'}", f"--workdir={tmp_path / 'again'}"]
    subprocess.run([sys.executable, ROOT / "train.py", *flags], check=True, cwd=tmp_path)
    expected = re.search(r"weights sha256 (\w+)", (folder / "best.cfg").read_text()).group(1)
    result = json.loads((tmp_path / "again" / "result.json").read_text())
    assert result["weights_sha256"] == expected
