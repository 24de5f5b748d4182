"""The speed of `lib.predict` and of Keras' `predict`, over the same images and the same weights.

    python -m benchmarks.predict_speed --workdir=RUN --images=FOLDER [--count=10000]

Both begin with the images as files and end with a probability per class. Keras is used as
its guides show: `image_dataset_from_directory`, prefetched, into `model.predict`. Each turn is a
process of its own, the two take turns, and the median counts. Time runs from the loaded network on
and includes all preparation (tracing, conversion); memory is the process' peak.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lib.runs import folder as run_folder
from lib.system import runtime

CONTENDERS = ("lib.predict", "keras")


def ours(trained, folder: Path) -> int:
    """Predicts as `lib.predict` does, without printing the table."""
    from lib.data.listing import visible_files
    from lib.inference.predictions import predictions
    from lib.inference.reading import read_ahead

    size, batch = trained.config.image_size, trained.config.batch_size
    reads = read_ahead(sorted(visible_files(folder)), size, shown=0, limit=2 * batch)
    return sum(1 for _ in predictions(trained, reads, explain=False))


def keras_predict(trained, folder: Path) -> int:
    """Predicts as Keras' guides do."""
    import keras
    import tensorflow as tf

    size = trained.config.image_size
    images = keras.utils.image_dataset_from_directory(
        folder,
        labels=None,
        shuffle=False,
        batch_size=trained.config.batch_size,
        image_size=(size, size),
        verbose=False,
    )
    return len(trained.network.model.predict(images.prefetch(tf.data.AUTOTUNE), verbose=0))


def turn(contender: str, workdir: Path, folder: Path) -> None:
    """Runs one contender in this process, and prints what it took as JSON."""
    saved = run_folder.require_saved(workdir)
    if contender == "lib.predict":  # Keras is not held to our demand for repeatable numbers
        runtime.start(saved.config.threads, saved.config.seed)
    from lib.inference.trained import open_trained

    trained = open_trained(workdir, saved.config, saved.facts["classes"], "best")
    began, spent = time.perf_counter(), time.process_time()
    count = (ours if contender == "lib.predict" else keras_predict)(trained, folder)
    seconds = time.perf_counter() - began
    cost = {
        "seconds": seconds,
        "cpu_seconds": time.process_time() - spent,
        "memory_mb": runtime.peak_memory_mb(),
    }
    print(json.dumps({"count": count, **cost}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--turn", choices=CONTENDERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.turn:
        turn(options.turn, options.workdir, options.images)
        return
    found = sorted(path for path in options.images.rglob("*") if path.is_file())
    results = {contender: [] for contender in CONTENDERS}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.count):  # as many as are asked for, by links
            source = found[number % len(found)].absolute()
            os.symlink(source, Path(folder, f"{number:06d}{source.suffix}"))
        for _ in range(options.turns):
            for contender in CONTENDERS:
                done = subprocess.run(
                    [
                        *(sys.executable, "-m", "benchmarks.predict_speed"),
                        f"--turn={contender}",
                        f"--workdir={options.workdir}",
                        f"--images={folder}",
                    ],
                    check=True,
                    capture_output=True,
                    text=True,
                )
                results[contender].append(json.loads(done.stdout.splitlines()[-1]))
    medians = {}
    for contender, turns in results.items():
        medians[contender] = statistics.median(each["seconds"] for each in turns)
        print(
            f"{contender:<12} {options.count / medians[contender]:7.0f} images/s"
            f"  {max(each['memory_mb'] for each in turns):6.0f} MB"
            f"  ({', '.join(format(each['seconds'], '.1f') for each in turns)} s;"
            f" {statistics.median(each['cpu_seconds'] for each in turns):.1f} s of processors)"
        )
    print(f"ratio {medians['keras'] / medians['lib.predict']:.2f}")


if __name__ == "__main__":
    main()
