"""Compares an exported model with the network that it was made from."""

import dataclasses
from collections.abc import Sequence
from time import perf_counter

import numpy as np
import tensorflow as tf

from lib.data.dataset import Subset
from lib.inference.formats import WayIn
from lib.inference.trained import Classifier
from lib.system.progress import Progress


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How one way into an exported model compares with the network of the run.

    Attributes:
        takes: what goes in.
        images: how many were compared.
        disagreeing: how many of them were given another class, or no number at all.
        largest_difference: of any probability.
        accuracy: of the exported model.
        accuracy_of_run: of the network.
        milliseconds: the median time for one image, without reading its file.
    """

    takes: str
    images: int
    disagreeing: int
    largest_difference: float
    accuracy: float
    accuracy_of_run: float
    milliseconds: float

    @property
    def disagreement(self) -> float:
        """The part of images that were given another class."""
        return self.disagreeing / self.images


def agreements(
    ways: Sequence[WayIn],
    classify: Classifier,
    subset: Subset,
    batch_size: int,
    progress: Progress,
) -> list[Agreement]:
    """Compares an exported model with the network, over images that it was not trained on.

    Args:
        ways: into the exported model.
        classify: the network.
        subset: the images.
        batch_size: how many the network takes at a time.
        progress: shows the images that are done.
    """
    positions = np.arange(len(subset))
    batches = np.split(positions, positions[batch_size::batch_size])
    of_run = [classify(subset.pixels(batch)) for batch in batches]
    predicted = np.concatenate([classes for classes, _ in of_run])
    expected = np.concatenate([probabilities for _, probabilities in of_run])
    paths = [subset.store.images[row].path for row in subset.rows]
    results = []
    for way in ways:
        given, seconds = [], []
        with progress(f"checking {way.name}", len(paths), "images") as advance:
            for path in paths:
                prepared = way.prepare(path.read_bytes())
                began = perf_counter()
                try:
                    given.append(way.probabilities(prepared))
                except tf.errors.OpError:  # a file that Pillow reads and TensorFlow does not
                    given.append(np.full(expected.shape[1], np.nan))
                seconds.append(perf_counter() - began)
                advance(1)
        # An answer without numbers is no class at all: never that of the run, and never right.
        known = np.isfinite(given)
        labels = np.where(known.all(axis=1), np.argmax(given, axis=1), -1)
        differences = np.abs(given - expected)
        results.append(
            Agreement(
                takes=way.name,
                images=len(paths),
                disagreeing=int(np.sum(labels != predicted)),
                largest_difference=float(np.max(differences, where=known, initial=0.0)),
                accuracy=float(np.mean(labels == subset.labels)),
                accuracy_of_run=float(np.mean(predicted == subset.labels)),
                milliseconds=float(1000 * np.median(seconds)),
            )
        )
    return results
