"""By what to choose among a run's epochs: what each rule is worth on images that chose nothing.

    python -m lib.study --study=runs/halves --folds=2 -- --keep_checkpoints=1000
    python -m benchmarks.choosing runs/halves/runs/*

Each run's validation images, its fold, are halved at random; one half chooses the epoch, the other
one says how good it is; then they change places. Prints a Markdown table: means over halvings, then
over runs, and what a rule gains over taking the last epoch, with its 95 % interval over the runs
(corrected for folds, see `lib.study.statistics`). With `--ema`, epochs are those of the averages.
At a constant rate `--ends=8` also asks what the rules had been worth if the run had ended up to
seven epochs earlier, so that the last epoch is not judged by one lot alone.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from lib.config import fold_of
from lib.runs import folder as run_folder
from lib.runs.history import read_history
from lib.study.statistics import mean_of
from lib.system import runtime
from lib.system.progress import bar

# Losses and errors of all epochs by the half that chooses, float [epochs] each, to the epoch taken.
RULES: dict[str, Callable[[np.ndarray, np.ndarray], int]] = {
    "last epoch": lambda losses, errors: len(losses) - 1,
    "highest accuracy": lambda losses, errors: np.lexsort((losses, errors))[0],
    "lowest loss": lambda losses, errors: np.argmin(losses),
}


def of_each_epoch(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Loss and error of each validation image after each epoch of a run: [epochs, images] each."""
    from lib.data.dataset import open_dataset
    from lib.inference.outcome import evaluate_trained
    from lib.inference.trained import open_trained
    from lib.training.stopping import StopRequest

    config = run_folder.require_saved(folder).config
    dataset = open_dataset(config, bar)
    losses, errors = [], []
    for row in read_history(folder / "history.csv"):
        if row.epoch > 0:
            checkpoint = str(folder / "checkpoints" / f"ckpt-{row.step}")
            trained = open_trained(folder, config, dataset.classes, checkpoint)
            found = evaluate_trained(trained, dataset.validation, StopRequest())
            true = found.probabilities[np.arange(found.count), found.labels]
            losses.append(-np.log(np.maximum(true.astype(float), 1e-38)))
            errors.append(found.predicted != found.labels)
    return np.array(losses), np.array(errors, float)


def halves(images: int, count: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions of the images that choose, and of those that score; each halving both ways."""
    generator = np.random.Generator(np.random.Philox(seed))
    for _ in range(count):
        one, other = np.array_split(generator.permutation(images), 2)
        yield one, other
        yield other, one


def worth(
    losses: np.ndarray, errors: np.ndarray, count: int, seed: int, ends: int = 1
) -> dict[str, np.ndarray]:
    """For each rule the mean epoch taken (from 1 on), error and loss on the half that scores.

    Args:
        losses: of each validation image after each epoch, float [epochs, images].
        errors: likewise, 0 or 1.
        count: of halvings.
        seed: of the halvings.
        ends: the run is taken as it stood after each of so many epochs, the last ones.
    """
    found: dict[str, list] = {name: [] for name in RULES}
    for chooses, scores in halves(losses.shape[1], count, seed):
        by_loss, by_error = losses[:, chooses].mean(axis=1), errors[:, chooses].mean(axis=1)
        for end in range(len(losses) + 1 - ends, len(losses) + 1):
            for name, rule in RULES.items():
                epoch = rule(by_loss[:end], by_error[:end])
                scored = errors[epoch, scores].mean(), losses[epoch, scores].mean()
                found[name].append((epoch + 1, *scored))
    return {name: np.mean(rows, axis=0) for name, rows in found.items()}


def table(of_runs: list[dict[str, np.ndarray]], held_back: float) -> str:
    """The Markdown table of what the rules are worth in some runs."""
    rows = [
        "| chosen by | epoch | accuracy | log loss | accuracy above the last epoch's |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    last = np.array([each["last epoch"][1] for each in of_runs])
    for name in RULES:
        epoch, error, loss = np.mean([each[name] for each in of_runs], axis=0)
        gain = mean_of(last - [each[name][1] for each in of_runs], held_back)
        between = gain.interval and f" ({gain.interval[0]:+.4f} to {gain.interval[1]:+.4f})"
        gains = f"{gain.mean:+.4f}{between or ''}"
        rows.append(f"| {name} | {epoch:.1f} | {1 - error:.4f} | {loss:.4f} | {gains} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "run", nargs="+", type=Path, help="folder of a run that kept the checkpoints of all epochs"
    )
    parser.add_argument("--halvings", type=int, default=1000, help="of each run's images [1000]")
    parser.add_argument("--ends", type=int, default=1, help="last epochs to end with in turn [1]")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    first = run_folder.require_saved(given.run[0]).config
    runtime.start(first.threads, first.seed)
    fold = fold_of(first.fold)
    print(
        table(
            [
                worth(*of_each_epoch(run), given.halvings, given.seed, given.ends)
                for run in given.run
            ],
            1 / (fold[1] - 1) if fold else 0.0,
        )
    )


if __name__ == "__main__":
    main()
