"""What two workers say when one of them fails, and after how many seconds they have ended.

    python -m benchmarks.worker_faults

Starts two workers on the drawn data set, as a cluster manager would, for each fault, and prints a
Markdown table: the fault, the exit code of each, its last line, and the seconds from the fault to
its end. A fault begins when the process that it hits comes to its place.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lib.distribution.cluster import Cluster
from lib.system.sockets import free_addresses

_TRAIN = Path(__file__).parents[1] / "train.py"
_FLAGS = (
    *("--dataset=drawn", "--weights=drawn", "--alpha=0.35", "--image_size=96", "--batch_size=16"),
    *("--train_limit=64", "--eval_limit=32", "--head_epochs=2", "--finetune_epochs=2"),
    *("--checkpoint_every=2", "--threads=1", "--worker_wait=10"),
)


class Fault(NamedTuple):
    """What happens to one of two workers.

    Attributes:
        name: in words.
        hits: the worker, 0 for the chief.
        point: where, and which signal; see `lib.system.fault_points`.
        flags: that this worker has besides.
        missing: whether it is not started at all.
    """

    name: str
    hits: int
    point: str = ""
    flags: tuple[str, ...] = ()
    missing: bool = False


FAULTS = (
    Fault("a worker is killed", 1, "step@3=SIGKILL"),
    Fault("the chief is killed", 0, "step@3=SIGKILL"),
    Fault("a worker is frozen", 1, "step@3=SIGSTOP"),
    Fault("the chief is frozen", 0, "step@3=SIGSTOP"),
    Fault("a worker is stuck, but answers", 1, "step@3=STUCK"),
    Fault("a worker is killed as TensorFlow starts", 1, "tensorflow=SIGKILL"),
    Fault("the chief is killed as TensorFlow starts", 0, "tensorflow=SIGKILL"),
    Fault("a worker is frozen as TensorFlow starts", 1, "tensorflow=SIGSTOP"),
    Fault("a worker is killed in an evaluation", 1, "evaluation@2=SIGKILL"),
    Fault("the chief is killed in a checkpoint", 0, "checkpoints:data@2=SIGKILL"),
    Fault("the chief's disk is full", 0, "checkpoints:data@2=ENOSPC"),
    Fault("SIGTERM to a worker", 1, "step@3=SIGTERM"),
    Fault("SIGINT to the chief", 0, "step@3=SIGINT"),
    Fault("a worker has another seed", 1, flags=("--seed=3",)),
    Fault("a worker never comes", 1, missing=True),
    Fault("the chief never comes", 0, missing=True),
)


def start(
    folder: Path,
    variables: Mapping[str, str],
    flags: Sequence[str] = (),
    prefix: Sequence[str] = (),
) -> subprocess.Popen:
    """Starts a process whose run is in a folder, with more variables and flags, and a prefix."""
    return subprocess.Popen(
        [*prefix, sys.executable, str(_TRAIN), *_FLAGS, f"--workdir={folder / 'run'}", *flags],
        env=os.environ | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def happened(fault: Fault, home: Path) -> list[str]:
    """What became of each worker, as rows of the table."""
    places = tuple(free_addresses(2))
    folder = Path(tempfile.mkdtemp(dir=home))
    processes, ended, said = {}, {}, {}
    for index in range(2):
        hit = index == fault.hits
        if hit and fault.missing:
            continue
        variables = {
            "TF_CONFIG": Cluster(places, index).tf_config(),
            "XDG_CACHE_HOME": str(home),
            "THAW_FAULT": fault.point if hit else "",
            "THAW_TRACE": str(folder / f"trace-{index}"),
        }
        processes[index] = start(folder, variables, fault.flags * hit)

    def wait(index: int) -> None:
        said[index], _ = processes[index].communicate()
        ended[index] = time.time()

    threads = {index: threading.Thread(target=wait, args=(index,)) for index in processes}
    began = time.time()
    for thread in threads.values():
        thread.start()
    stays = fault.hits if fault.point.endswith(("STOP", "STUCK")) else None
    for index, thread in threads.items():
        if index != stays:
            thread.join()
    if fault.point:  # the last that it reached
        began = (folder / f"trace-{fault.hits}").stat().st_mtime
    if stays is not None:
        processes[stays].kill()
        threads[stays].join()
    rows = []
    for index, process in processes.items():
        if index != stays:
            line = (said[index].strip().splitlines() or [""])[-1]
            who = "the chief" if index == 0 else "the other"
            seconds = ended[index] - began
            rows.append(f"| {fault.name} | {who} | {process.returncode} | {seconds:.1f} | {line} |")
    return rows


def main() -> None:
    print("| fault | who | exit code | seconds | last line |")
    print("| --- | --- | ---: | ---: | --- |", flush=True)
    with tempfile.TemporaryDirectory() as home:
        for fault in FAULTS:
            print("\n".join(happened(fault, Path(home))), flush=True)


if __name__ == "__main__":
    main()
