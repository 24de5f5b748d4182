"""Kills studies at random moments, and compares what they end in with undisturbed ones.

    python -m benchmarks.study_campaign --kills=5 --seed=0 -- FLAGS_OF_TRAIN

One study of three seeds and one of eight trials, each with the real program; after each kill the
same command goes on. Compared are the tables with the digests of all weights, and the trials.
"""

import argparse
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_SPACE = "finetune_learning_rate=log(1e-5, 1e-2); finetune_optimizer=adam|rmsprop"
_STUDIES = {
    "three seeds": ["--seeds=3"],
    "eight trials": [f"--space={_SPACE}", "--trials=8"],
}


def main(arguments: list[str]) -> int:
    cut = arguments.index("--")
    parser = argparse.ArgumentParser("python -m benchmarks.study_campaign")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    given, of_train = parser.parse_args(arguments[:cut]), arguments[cut:]
    moments, differences = random.Random(given.seed), 0
    with tempfile.TemporaryDirectory() as home:
        for name, asked in _STUDIES.items():
            undisturbed, killed = (Path(home, name, which) for which in ("undisturbed", "killed"))
            began = time.monotonic()
            expected = _table(_finished(undisturbed, [*asked, *of_train]))
            seconds = time.monotonic() - began
            # Over all of its time, each stretch between two kills being as likely long as short.
            for _ in range(given.kills):
                process = _started(killed, [*asked, *of_train])
                try:
                    process.wait(moments.uniform(2, 2 * seconds / (given.kills + 1)))
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                print(f"{name}: ended with code {process.returncode}", flush=True)
            found = _table(_finished(killed, [*asked, *of_train]))
            same = found == expected and _trials(killed) == _trials(undisturbed)
            differences += not same
            print(f"{name}: {'the same' if same else 'DIFFERENT'}\n{found}", flush=True)
            if not same:
                print(f"{name}, undisturbed:\n{expected}", flush=True)
    print(f"{differences} differences")
    return 1 if differences else 0


def _started(study: Path, arguments: list[str]) -> subprocess.Popen:
    command = [sys.executable, "-m", "lib.study", f"--study={study}", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _finished(study: Path, arguments: list[str]) -> str:
    process = _started(study, arguments)
    said, _ = process.communicate()
    if process.returncode:
        sys.exit(f"the study ended with code {process.returncode}:\n{said}")
    return said


def _table(said: str) -> str:
    """The tables, without the times that a clock has measured, and the widths that these have."""
    tables = said.partition("\n\n")[2].partition("The flags of the best run")[0]
    rows = [re.split(r" {2,}", line) for line in tables.splitlines()]
    of_clock = re.compile(r"(\d+ (h|min|s) ?)+")
    return "\n".join(
        "  ".join(cell for cell in row if not of_clock.fullmatch(cell)) for row in rows
    )


def _trials(study: Path) -> str:
    path = study / "trials.json"
    return path.read_text() if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
