"""Runs whose folders have names that TensorFlow reads otherwise, or cannot encode."""

import shutil
import subprocess
import sys

import pytest

from tests.faults.program import ROOT, Outcome, Program


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The program in a folder of such a name."""
    folder = tmp_path_factory.mktemp("clones") / "thaw [2]\\x"
    folder.mkdir()
    for part in ("lib", "flags"):
        shutil.copytree(ROOT / part, folder / part)
    shutil.copy(ROOT / "train.py", folder)
    return folder


@pytest.fixture(scope="module")
def train(clone, tmp_path_factory):
    """The program with flags that both data set and folders are to be added to."""
    flags = (
        *("--weights=drawn", "--image_size=96", "--alpha=0.35", "--batch_size=8", "--threads=2"),
        *("--head_epochs=1", "--finetune_epochs=1", "--checkpoint_every=1", "--histograms"),
    )
    return Program(flags, tmp_path_factory.mktemp("cache [1]"), script=clone / "train.py")


@pytest.fixture(scope="module")
def undisturbed(train, two_classes, tmp_path_factory):
    """A run in a folder of an ordinary name."""
    folder = tmp_path_factory.mktemp("ordinary") / "run"
    train.with_flags(f"--dataset={two_classes}").finish(folder)
    return folder


@pytest.mark.parametrize("name", ["exp [1]\\*", "caf\udce9"])
def test_a_run_is_trained_killed_resumed_and_used_there(
    train, clone, undisturbed, two_classes, tmp_path, name
):
    place = tmp_path / name
    shutil.copytree(two_classes, place / "insects")
    train = train.with_flags(f"--dataset={place / 'insects'}")
    assert train.run(place / "run", fault="step@4").code == -9
    assert "Resuming at step 3" in train.finish(place / "run")
    (place / "run").rename(tmp_path / "run")
    assert Outcome.of(tmp_path / "run") == Outcome.of(undisturbed)
    (tmp_path / "run").rename(place / "run")

    train.with_flags(f"--from_run={place / 'run'}").finish(place / "second")
    baseline = ("--phase=evaluate", f"--against={place / 'second'}")
    assert "McNemar" in Program(baseline, train.cache, script=train.script).finish(place / "run")
    command = (
        *(sys.executable, "-m", "lib.predict", f"--workdir={place / 'run'}", "--explain"),
        f"--checkpoint={place / 'run' / 'checkpoints' / 'ckpt-6'}",
        *(f"--output={place / 'out.csv'}", place / "insects" / "validation" / "ants"),
    )
    subprocess.run(command, cwd=clone, check=True, stdout=subprocess.DEVNULL)
    assert len((place / "out.csv").read_bytes().splitlines()) == 11
