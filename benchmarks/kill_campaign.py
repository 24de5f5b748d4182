"""Kills a short run again and again at random moments, and compares the bits it ends in.

    python -m benchmarks.kill_campaign --kills=200 --seed=0
    python -m benchmarks.kill_campaign --kills=100 --workers=1,2,4

With several numbers of workers, each start takes one of them at random, and the kill hits one of
the workers; the undisturbed run has one.

Runs on the photographs of $CATS_AND_DOGS_DIR with the weights of $MOBILENET_V2_WEIGHTS where both
are set, else on the drawn data set and weights. Prints each finished run, and at the end, or when
it is interrupted by Ctrl-C, a Markdown table of where the kills hit. Ends with exit code 1, and
keeps the runs, if any came to other weights, history, predictions or summaries than the undisturbed
one, or ended too early by itself.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from time import monotonic, sleep

from tests.faults.program import Outcome, Program, differences

_RECIPE = (
    "--image_size=96",
    "--batch_size=16",
    "--train_limit=64",
    "--eval_limit=32",
    "--head_epochs=2",
    "--finetune_epochs=2",
    "--checkpoint_every=2",
)
_LOOK_EVERY = 0.005  # seconds
_TOO_MANY = 10  # starts that failed by themselves

_START, _END = "start-up", "test set, plots and result"


def place_of(trace: Sequence[str]) -> str:
    """What a process was at when it died.

    Args:
        trace: the places that it reached, as `lib.system.fault_points` names them.
    """
    phase = next((p.removeprefix("phase:") for p in reversed(trace) if "phase:" in p), None)
    if phase is None:
        return f"{_START}, after TensorFlow's" if "tensorflow" in trace else _START
    if "outcome" in trace:
        return _END
    last = trace[-1]
    if last.startswith("phase:"):
        return f"beginning of phase {phase}"
    if last == "evaluation":
        return "evaluation, and drawing what it found"
    if last.endswith((":begin", ":data")) or last.startswith("write:ckpt-"):
        return "writing a checkpoint"
    if last.startswith("write:"):
        return "writing history and plots"
    return f"training steps of phase {phase}"


class Campaign:
    """Runs of one program, killed at random, and compared with one that was not.

    Args:
        program: what is started.
        home: a folder for the runs.
        seed: of the moments.
        workers: numbers of workers, of which each start takes one.
    """

    def __init__(self, program: Program, home: Path, seed: int, workers: Sequence[int] = (1,)):
        self._program = program
        self._home = home
        self._random = random.Random(seed)
        self._workers = workers
        self.kills = Counter[str]()
        self.runs = self.starts = 0
        self.differences: list[str] = []
        self.failures: list[str] = []

        program.finish(home / "warm")  # decodes the images
        began = monotonic()
        program.finish(home / "undisturbed", home / "trace")
        self._seconds = monotonic() - began
        self._expected = Outcome.of(home / "undisturbed")

    def run(self, kills: int) -> None:
        """Kills as often as asked, and lets the last run come to its end."""
        while sum(self.kills.values()) < kills:
            workdir = self._home / f"run-{self.runs}"
            while True:
                exhausted = sum(self.kills.values()) >= kills
                if self._start(workdir, kill=not exhausted):
                    break
                if len(self.failures) == _TOO_MANY:
                    return
            self.runs += 1
            found = differences(Outcome.of(workdir), self._expected)
            self.differences += [f"{workdir.name}: {name}" for name in found]
            hits = sum(self.kills.values())
            said = ", ".join(found) or "the same"
            print(f"{workdir.name}: {said} ({hits} of {kills} kills)", flush=True)

    def _start(self, workdir: Path, kill: bool) -> bool:
        """Starts the program, and perhaps kills it; whether it came to its end."""
        self.starts += 1
        trace = self._home / "trace"
        trace.write_text("")
        workers = self._random.choice(self._workers)
        process = self._program.with_flags(f"--workers={workers}").launch(workdir, trace=trace)
        try:
            return self._hit(process, workdir, trace, workers, kill)
        except KeyboardInterrupt:
            process.kill()  # those that it has started end with it
            process.communicate()
            raise

    def _hit(
        self, process: subprocess.Popen, workdir: Path, trace: Path, workers: int, kill: bool
    ) -> bool:
        # Half of the moments are counted from where training begins: most of a start is start-up.
        from_training = self._random.random() < 0.5
        left = self._random.uniform(0, self._seconds * (0.6 if from_training else 1))
        last = monotonic()
        while kill and process.poll() is None and left > 0:
            sleep(_LOOK_EVERY)
            now = monotonic()
            if not from_training or "phase:" in trace.read_text():
                left -= now - last
            last = now
        victim = process.pid
        if kill and process.poll() is None:
            victim = self._random.choice([victim, *_other_workers(victim)])
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        _, errors = process.communicate()
        if process.returncode == (-9 if victim == process.pid else 1):
            who = "" if len(self._workers) == 1 else f" ({_who(victim, process.pid, workers)})"
            self.kills[place_of(trace.read_text().split()) + who] += 1
            return False
        if process.returncode != 0:
            self.failures.append(f"{workdir.name}: exit code {process.returncode}: {errors}")
            print(self.failures[-1], flush=True)
        return process.returncode == 0

    def table(self) -> str:
        """Where the kills hit, as Markdown."""
        lines = ["| killed during | kills |", "| --- | ---: |"]
        lines += [f"| {place} | {count} |" for place, count in self.kills.most_common()]
        total = sum(self.kills.values())
        return "\n".join(
            [
                *lines,
                f"| **all** | **{total}** |",
                "",
                f"{self.runs} runs, {self.starts} starts, {total} kills, {len(self.failures)}"
                f" starts that ended too early by themselves, {len(self.differences)} differences"
                " in weights, history, predictions or summaries.",
            ]
        )


def _other_workers(chief: int) -> list[int]:
    """Those that a process has started; it has other children, too, which draw."""
    try:
        children = Path(f"/proc/{chief}/task/{chief}/children").read_text().split()
        command = Path(f"/proc/{chief}/cmdline").read_bytes()
        return [int(p) for p in children if Path(f"/proc/{p}/cmdline").read_bytes() == command]
    except OSError:
        return []


def _who(victim: int, chief: int, workers: int) -> str:
    return f"{'the chief' if victim == chief else 'another'} of {workers}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", default="1", help="numbers of workers, such as 1,2,4")
    chosen = parser.parse_args()
    workers = [int(each) for each in chosen.workers.split(",")]
    dataset = os.environ.get("CATS_AND_DOGS_DIR")
    weights = os.environ.get("MOBILENET_V2_WEIGHTS")
    data = (
        (f"--dataset={dataset}", f"--weights={weights}")
        if dataset and weights
        else ("--dataset=drawn", "--weights=drawn", "--alpha=0.35")
    )
    home = Path(tempfile.mkdtemp())
    program = Program((*data, *_RECIPE, f"--slices={max(2, *workers)}"), home / "cache")
    campaign = Campaign(program, home, chosen.seed, workers)
    code = 0
    try:
        campaign.run(chosen.kills)
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    print(campaign.table())
    if campaign.differences or campaign.failures:
        print(f"The runs are kept in {home}")
        code = 1
    else:
        shutil.rmtree(home)
    sys.exit(code)


if __name__ == "__main__":
    main()
