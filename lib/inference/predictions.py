"""Predictions of a trained run for images, one after the other, in bounded memory."""

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from lib.inference.reading import Read
from lib.inference.trained import Trained, make_classifier, make_ensemble
from lib.model.gradcam import make_gradcam
from lib.system.prefetching import prefetched
from lib.system.runtime import threads


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The prediction for an image.

    Attributes:
        read: the image.
        name: of the likeliest class.
        probability: of that class.
        probabilities: of all classes, by name.
        heat: float32 [h, w], 0 to 1: where the class was seen; None where it was not asked for.
    """

    read: Read
    name: str
    probability: float
    probabilities: dict[str, float]
    heat: np.ndarray | None

    @property
    def path(self) -> Path:
        """The image's file."""
        return self.read.path


def predictions(
    trained: Trained,
    reads: Iterator[Read],
    explain: bool,
    others: Sequence[Trained] = (),
    views: int = 1,
) -> Iterator[Prediction]:
    """Predicts images, batch by batch, in their order.

    Args:
        trained: the run.
        reads: the images; none has a fault.
        explain: whether it is to be shown where the classes were seen.
        others: more runs, of the same classes and image size, whose probabilities are averaged with
            those of the first.
        views: how many of each image are averaged, see `lib.inference.views`.
    """
    members = [trained, *others]
    averages = others or views > 1
    classify = make_ensemble(members, views) if averages else make_classifier(trained)
    heats = [make_gradcam(each.network) for each in members] if explain else []

    def predicted(batch: list[Read]) -> list[Prediction]:
        pixels = np.stack([read.pixels for read in batch])
        likeliest, probabilities = classify(pixels)
        found = [gradcam(pixels, likeliest) for gradcam in heats]
        heat = np.mean(found, axis=0) if found else [None] * len(batch)
        return [
            Prediction(
                read=read,
                name=trained.classes[likeliest[i]],
                probability=float(probabilities[i, likeliest[i]]),
                probabilities=dict(zip(trained.classes, probabilities[i].tolist(), strict=True)),
                heat=heat[i],
            )
            for i, read in enumerate(batch)
        ]

    batches = iter(lambda: list(islice(reads, trained.config.batch_size)), [])
    for batch in prefetched(predicted, batches, threads=max(2, threads())):
        yield from batch
