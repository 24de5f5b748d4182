"""A study of the real train.py, killed in the middle of a run, and its best run again."""

import json
import re
import subprocess
import sys
import time

from tests.study.program import ROOT, kill, start, study


def test_a_killed_trial_goes_on_and_the_flag_file_alone_gives_it_again(
    two_classes, tiny_backbone, tmp_path
):
    folder = tmp_path / "study"
    asked = (
        f"--study={folder}",
        "--space=finetune_learning_rate=log(1e-5, 1e-2)",
        "--trials=1",
        "--",
        f"--dataset={two_classes}",
        f"--backbone={tiny_backbone}",
        "--scaling=tf",
        *("--image_size=32", "--batch_size=4", "--head_learning_rate=0.01"),
        *("--head_epochs=1", "--finetune_epochs=2", "--checkpoint_every=2", "--threads=2"),
    )
    process = start(*asked, real=True)
    while not list(folder.glob("runs/trial-000/checkpoints/*.json")):
        assert process.poll() is None
        time.sleep(0.05)
    kill(process)
    said = study(*asked, real=True)
    assert "head: head, which all runs of it share" not in said  # it was finished
    assert "Resuming at step" in (folder / "logs" / "trial-000.txt").read_text()

    (digest,) = re.findall(r"weights sha256 (\w+)", (folder / "best.cfg").read_text())
    assert digest[:12] in said
    flags = [f"--flagfile={folder / 'best.cfg'}", f"--workdir={tmp_path / 'again'}"]
    subprocess.run([sys.executable, ROOT / "train.py", *flags], check=True, cwd=tmp_path)
    result = json.loads((tmp_path / "again" / "result.json").read_text())
    assert result["weights_sha256"] == digest
