"""What README says of changing things and of a network of one's own, done word for word."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs.conftest import ROOT, train

SMALL = ["--image_size=32", "--alpha=0.35", "--batch_size=4", "--head_epochs=1"]


def section_of(title):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


@pytest.fixture(scope="module")
def section():
    return section_of("Change it")


def blocks(section, kind):
    return re.findall(rf"^```{kind}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def command(section, start):
    """The flags of the command that begins so."""
    (line,) = (line for line in section.splitlines() if line.startswith(start))
    return shlex.split(line, comments=True)[2:]


@pytest.fixture
def small(two_classes, weight_file, tmp_path):
    data = [f"--dataset={two_classes}", f"--weights={weight_file}", f"--workdir={tmp_path / 'run'}"]
    return [*SMALL, *data]


def test_the_plugin(section, small, tmp_path):
    plugin, _ = blocks(section, "python")
    (tmp_path / "my_idea.py").write_text(plugin, encoding="utf-8")
    flags = command(section, "python train.py --plugin")
    assert flags[0] == "--plugin=my_idea.py"
    done = train(f"--plugin={tmp_path / flags[0][9:]}", *flags[1:], *small, "--finetune_epochs=0")
    assert "Test set: accuracy" in done.out


def test_the_phases(section, small):
    flags = command(section, "python train.py --phases")
    done = train(*flags, *small, "--top_epochs=1", "--all_epochs=1")
    assert "Phase all:" in done.out and "Test set: accuracy" in done.out


def test_the_learning_rate(section, small, tmp_path):
    train(*small, "--phase=head")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    done = train(*command(section, "python train.py --find_rate"), *small)
    assert re.search(r"--finetune_learning_rate=[\d.e-]+$", done.out, re.MULTILINE)
    assert (tmp_path / "run" / "find_rate" / "finetune.png").exists()
    assert all(path.read_bytes() == content for path, content in before.items())


def test_the_notebook(section, draw_images, tmp_path):
    draw_images(tmp_path / "pets", {"cats": 12, "dogs": 12})
    _, code = blocks(section, "python")
    # Signals are as they were, absl is not even loaded by name, and nothing ends the process.
    code = (
        "import signal, sys\n"
        f"before = signal.getsignal(signal.SIGINT)\n{code}\n"
        "assert signal.getsignal(signal.SIGINT) is before\n"
        "assert 'flags' not in sys.modules\n"
        "print('after it')\n"
    )
    surroundings = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=surroundings, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("after it\n")
    assert Path(tmp_path / "runs" / "pets" / "result.json").exists()


def test_a_network_of_ones_own(two_classes, tmp_path):
    section = section_of("Use your own network")
    (code,) = blocks(section, "python")
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    flags = command(section, "python train.py --backbone=mine")
    assert flags[0] == "--backbone=mine.keras"
    data = [f"--dataset={two_classes}", f"--workdir={tmp_path / 'run'}", "--batch_size=4"]
    epochs = ["--head_epochs=1", "--finetune_epochs=1"]
    done = train(f"--backbone={tmp_path / 'mine.keras'}", *flags[1:], *data, *epochs)
    assert "Phase finetune:" in done.out and "Test set: accuracy" in done.out
