"""The time of a step by the number of workers and slices, and what of it is the exchange.

    python -m benchmarks.workers --workers 1 2 4 --slices 1 4 8

Takes fine-tuning steps of the default recipe on images of noise, with random weights, one thread in
each worker, and prints the median milliseconds of the slices (the arithmetic), of the exact and the
fast exchange, and of the update, as a Markdown table; then how long the bytes would be on the wire.
On one machine workers share its processors, so that only the exchange is a cost of their number.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

from lib.config import Config
from lib.distribution.cluster import Cluster, from_environment
from lib.distribution.meeting import Meeting
from lib.system.progress import bar
from lib.system.sockets import free_addresses

REPEATS = 15
GIGABIT = 1e9 / 8  # bytes per second


def milliseconds(part: Callable[[], object]) -> float:
    """The median time of a part once it is warm."""
    part(), part()
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        part()
        times.append(time.perf_counter() - began)
    return 1000 * median(times)


def measured(config: Config, cluster: Cluster) -> dict[str, float]:
    """What the parts of a step take in this worker."""
    from lib.system import runtime

    meeting = Meeting(cluster)
    if cluster.count > 1:
        meeting.hold({}, None, 60.0)

    def connect():
        from lib.distribution.workers import Workers

        return Workers(cluster)

    with meeting.joining():
        workers = runtime.start(1, 0, connect)
    import numpy as np
    import tensorflow as tf

    from lib.model.architecture import build_backbone
    from lib.model.network import build
    from lib.runs.state import State
    from lib.training.build import build_learner
    from lib.training.exchange import make_gather
    from lib.training.feed import Batch
    from lib.training.slice_step import make_slice_step, trace_slice
    from lib.training.steps import make_update_step

    backbone, scaling = build_backbone(config, bar)
    network = build(backbone, 2, config.dropout, 0, scaling)
    phase = config.phase("finetune")
    learner = build_learner(config, phase, network, phase.learning_rate, workers=workers)
    of_slice = trace_slice(learner)
    of_slices = make_slice_step(learner, of_slice)
    update = make_update_step(learner, State(), of_slice)
    room = learner.slices.size * len(learner.slices.mine)
    images = np.random.default_rng(0).integers(
        0, 256, (room, *[config.image_size] * 2, 3), np.uint8
    )
    batch = Batch(learner.engine.prefix(images), tf.zeros((room, 1)), config.batch_size)
    mine = of_slices(batch, 0)
    exact, fast = (make_gather(learner, of_slice, workers, kind) for kind in ("exact", "fast"))

    def of_all(gather):
        return lambda: gather(mine, config.batch_size).losses.numpy()

    whole = exact(mine, config.batch_size)
    parts = {
        "slices": milliseconds(lambda: of_slices(batch, 0).losses.numpy()),
        "exact exchange": milliseconds(of_all(exact)),
        "fast exchange": milliseconds(of_all(fast)),
        "update": milliseconds(lambda: float(update(whole, 0)["loss"])),
        "bytes": sum(4 * int(tf.size(each)) for each in learner.variables),
    }
    workers.wait()
    return parts


def of_workers(count: int, slices: int) -> dict[str, float]:
    """What the chief of some workers measures, each in a process of its own."""
    cluster = Cluster(tuple(free_addresses(count)))
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.workers", "--slices", str(slices), "--one"],
            env=os.environ | {"TF_CONFIG": Cluster(cluster.addresses, index).tf_config()},
            stdout=subprocess.PIPE if index == 0 else subprocess.DEVNULL,
            text=True,
        )
        for index in range(count)
    ]
    said, _ = processes[0].communicate()
    for process in processes:
        process.wait()
    if not said:
        sys.exit(f"{count} workers of {slices} slices have failed")
    return json.loads(said.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--slices", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        found = measured(Config(slices=chosen.slices[0], threads=1), from_environment())
        print(json.dumps(found), flush=True)
        os._exit(0)
    print("| workers | slices | slices, ms | exact exchange, ms | fast exchange, ms | update, ms |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    size = 0
    for count in chosen.workers:
        for slices in chosen.slices:
            if slices % count == 0:
                parts = of_workers(count, slices)
                size = parts.pop("bytes")
                times = " | ".join(f"{each:.1f}" for each in parts.values())
                print(f"| {count} | {slices} | {times} |", flush=True)
    print(f"\nA gradient has {size / 2**20:.1f} MiB. Each worker sends and receives, in ms:\n")
    print("| workers | exact, 1 Gbit/s | fast, 1 Gbit/s | exact, 10 Gbit/s | fast, 10 Gbit/s |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    for count in chosen.workers:
        exact, fast = (count - 1) * size, 2 * (count - 1) / count * size
        row = [1000 * each / (speed * GIGABIT) for speed in (1, 10) for each in (exact, fast)]
        print(f"| {count} | {' | '.join(f'{each:.1f}' for each in row)} |")


if __name__ == "__main__":
    main()
