"""What a run would do, said without doing it: layers, cuts, what is folded, and what it costs."""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lib.config import Config, Phase
from lib.data.order import steps_per_epoch
from lib.model.engine import Border, border
from lib.model.folding import followers_of
from lib.model.freezing import first_trained, layer_table
from lib.model.graph import Step, leaf_layers
from lib.model.network import Network
from lib.reporting.layer_table import as_text
from lib.runs.state import State
from lib.system.progress import say
from lib.training.build import build_feed, build_learner
from lib.training.optimizers import make_schedule
from lib.training.steps import make_train_step

_FIRST, _TIMED = 2, 10  # steps, of which the first ones take longer
_AHEAD = 2  # batches that are made meanwhile, so that all that are timed are made in that time
_ENOUGH = 20.0  # seconds after which no more steps are timed


@dataclasses.dataclass(frozen=True)
class _Noise:
    """A split whose images are noise, for `build_feed`."""

    classes: Sequence[str]
    images: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    @property
    def labels(self) -> np.ndarray:
        return np.arange(len(self.images), dtype=np.int32) % len(self.classes)

    def pixels(self, positions: np.ndarray) -> np.ndarray:
        return self.images[positions]


def describe(config: Config, network: Network, classes: Sequence[str], images: int) -> None:
    """Says what a run would train, and how long an epoch of each phase takes on this machine.

    Args:
        config: what the run would be.
        network: of it; its weights are lost.
        classes: their names.
        images: how many it would be trained on.

    Raises:
        UserError: the configuration cannot be trained.
    """
    found = border(network, None)
    million = sum(step.multiplications for step in found.graph.steps) / 1e6
    say(
        f"{Path(config.backbone).name}: {len(leaf_layers(network.backbone))} layers,"
        f" {network.backbone.count_params():,} parameters; {million:,.0f} million multiplications"
        f" per image of {network.image_size} pixels; scaling: {network.scaling}"
    )
    for phase in config.phases:
        seconds = _seconds_per_epoch(config, phase, network, classes, images)
        trained_from = first_trained(network.backbone, phase)
        say(f"\nPhase {phase.name}:\n{as_text(layer_table(network))}")
        say(_cut(border(network, trained_from), config.engine == "plain"))
        say(f"  training takes about {seconds:,.3g} s an epoch of {images} images")


def _cut(found: Border, plain: bool) -> str:
    """Where a network is cut, what is below and above, and what is folded."""
    steps = found.graph.steps
    end = len(steps)
    below, above = (
        sum(step.multiplications for step in part) / 1e6
        for part in (steps[: found.at], steps[found.at :])
    )
    numbers, at = found.graph.numbers[found.at], "in front of "
    if found.at == end:  # where what is pooled passes
        numbers, at = found.graph.shapes[found.graph.output][-1], "behind the last layer"
    else:
        at += _name(steps[found.at])
    lines = [
        f"  cut {at}, where {numbers:,} numbers of an image pass;"
        f" {below:,.0f} million multiplications below, {above:,.0f} above",
    ]
    if plain:
        return f"{lines[0]}\n  nothing is folded: each layer is computed by Keras"
    folded = {
        place: sum(len(followers_of(found.graph, *part)) for part in parts)
        for place, parts in {
            "below": [(0, found.narrow), (found.narrow, found.at)],
            "above": [(found.at, end)],
        }.items()
    }
    norms = sum("Normalization" in type(step.operation).__name__ for step in steps)
    lines.append(
        f"  {sum(folded.values())} of {norms} normalisations are folded:"
        f" {folded['below']} below, {folded['above']} above"
    )
    if found.narrow < found.at:
        name = _name(steps[found.narrow])
        lines.append(f"  images go one by one up to {name}, several at once from there")
    return "\n".join(lines)


def _name(step: Step) -> str:
    return step.operation.name


def _seconds_per_epoch(
    config: Config, phase: Phase, network: Network, classes: Sequence[str], images: int
) -> float:
    """How long the steps of an epoch take, measured with a few on noise."""
    size = network.image_size
    noise = np.random.default_rng(0).integers(0, 256, (config.batch_size, size, size, 3), np.uint8)
    schedule = make_schedule(phase.schedule, max(1, phase.epochs), phase.learning_rate)
    learner = build_learner(config, phase, network, schedule)
    step = make_train_step(learner, State())
    noises = _Noise(classes, np.concatenate([noise] * (_FIRST + _TIMED + _AHEAD)))
    feed = build_feed(config, noises, learner)
    ended: list[float] = []
    for number, batch in enumerate(feed.batches(0, _FIRST + _TIMED + _AHEAD)):
        float(step(batch, number)["loss"])
        ended.append(time.monotonic())
        if number == _FIRST + _TIMED or (number > _FIRST and ended[-1] - ended[0] > _ENOUGH):
            break
    timed = ended[_FIRST:]
    seconds = (timed[-1] - timed[0]) / (len(timed) - 1)
    return seconds * steps_per_epoch(images, config.batch_size)
