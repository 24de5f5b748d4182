"""A trained run, opened: its classes, and its network with the weights of a checkpoint."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from lib import plugins
from lib.config import Config, expanded, setting
from lib.errors import UserError
from lib.inference.calibration import temperature_of
from lib.inference.views import view
from lib.model.architecture import build_backbone, open_kept, refresh
from lib.model.engine import Engine, cut
from lib.model.freezing import first_trained, freeze
from lib.model.network import Network, build
from lib.runs.checkpoints import Checkpoints, load_checkpoint
from lib.runs.folder import saved
from lib.runs.resume import finished_phase, load_state
from lib.runs.state import State
from lib.system.progress import bar
from lib.training.averages import Averages
from lib.training.feed import filled_up
from lib.training.losses import answers
from lib.training.steps import make_evaluation_step

# Images, uint8 [n, size, size, 3], n at most a batch, to their likeliest classes, int32 [n], and
# the probabilities of all, float32 [n, classes].
Classifier = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Trained:
    """A run whose network can be used.

    Attributes:
        config: what the run is.
        classes: their names; the network's outputs are in this order.
        network: with the checkpoint's weights.
        trained_from: index of the backbone's first layer that was trained in the phase of these
            weights; None if all of it was frozen.
        step: how many training steps made these weights.
        checkpoint: the path, without suffix, that they came from.
    """

    config: Config
    classes: tuple[str, ...]
    network: Network
    trained_from: int | None
    step: int
    checkpoint: Path

    def engine(self) -> Engine:
        """The network, cut where the phase of its weights cuts it.

        So an image gets the same logits as in the evaluations of that phase, to the last bit.
        """
        return cut(self.network, self.trained_from, self.config.engine, self.config.threads)


def open_calibrated(
    folder: Path, config: Config, classes: Sequence[str], checkpoint: str
) -> tuple[Trained, float]:
    """Opens a run as `open_trained` does, and divides its logits by the run's temperature, if any.

    Returns:
        The run, whose head gives the logits so divided, and the temperature; 1 for none.
    """
    trained = open_trained(folder, config, classes, checkpoint)
    temperature = temperature_of(folder, trained.checkpoint)
    for weights in (trained.network.head.kernel, trained.network.head.bias):
        weights.assign(weights / temperature)
    return trained, temperature


def open_trained(folder: Path, config: Config, classes: Sequence[str], checkpoint: str) -> Trained:
    """Builds the network of a run and gives it the weights of a checkpoint.

    The file of the initial weights is not needed: a checkpoint holds them all. The run may go on
    meanwhile.

    Args:
        folder: of the run.
        config: what the run is.
        classes: of the run.
        checkpoint: "best", "latest", or the path of a checkpoint, with or without its suffix.

    Raises:
        UserError: there is no such checkpoint, or it is of another network.
    """
    backbone, scaling = _kept(folder, config) or build_backbone(config, bar)
    network = build(backbone, len(classes), config.dropout, config.seed, scaling)
    while True:
        path = _found(folder, config, checkpoint)
        try:
            return load_trained(network, config, classes, path)
        except UserError:
            if _found(folder, config, checkpoint) == path:  # not just replaced by a newer one
                raise


def _kept(folder: Path, config: Config) -> tuple[keras.Model, str] | None:
    try:
        return open_kept(folder)
    except UserError:
        if not config.plugin:
            raise
        plugins.load(config.plugin)  # which may register layers of the user's own
        return open_kept(folder)


def load_trained(
    network: Network, config: Config, classes: Sequence[str], checkpoint: Path
) -> Trained:
    """Gives the network of a run the weights of a checkpoint, or the averages of them it keeps.

    Args:
        network: of the run.
        config: what the run is.
        classes: of the run.
        checkpoint: its path, without suffix.

    Raises:
        UserError: the checkpoint is damaged, or of another network or version.
    """
    state = State()
    run = saved(checkpoint.parent.parent)
    try:
        load_checkpoint(checkpoint, model=network.model)
        refresh(network.backbone)
        load_state(checkpoint, state, run.made_by if run else {})
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        raise UserError(
            f"the checkpoint {checkpoint} cannot be read: it is damaged, or of another network than"
            f" {config.backbone} with {len(classes)} classes; restore it from a"
            " copy, or give another where there is a flag for it"
        ) from error
    trained_from = first_trained(network.backbone, config.phase(state.phase_name))
    if config.ema:
        averages = Averages(freeze(network, trained_from), config.ema)
        load_checkpoint(checkpoint, averages=averages)
        averages.overwrite()
    return Trained(config, tuple(classes), network, trained_from, int(state.step), checkpoint)


def _found(folder: Path, config: Config, checkpoint: str) -> Path:
    if checkpoint in ("best", "latest"):
        places = [Checkpoints(folder / "best", keep=1)]
        if checkpoint == "latest":
            places = [Checkpoints(folder / "checkpoints", keep=1)]
            places += [finished_phase(folder, phase.name) for phase in reversed(config.phases)]
        for place in places:
            if path := place.newest_good(set_aside=False):
                return path
        raise UserError(
            f"{setting('workdir', folder)} holds no {checkpoint} checkpoint yet: train it first,"
            " for an epoch at least"
        )
    path = expanded(checkpoint)
    for candidate in (path, path.with_suffix("")) if path.name else ():
        if candidate.with_name(f"{candidate.name}.index").is_file():
            return candidate
    raise UserError(
        f"{setting('checkpoint', checkpoint)}: no such checkpoint; expected best, latest, or a path"
        f" such as {folder / 'checkpoints' / 'ckpt-100'}"
    )


def make_classifier(trained: Trained, views: int = 1) -> Classifier:
    """Builds the function that classifies images, as evaluations do to the last bit.

    Args:
        trained: the run.
        views: how many of each image are averaged, see `lib.inference.views`.
    """
    engine = trained.engine()
    step = make_evaluation_step(engine, trained.network)

    def classify(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = []
        for number in range(views):
            seen = view(images, number, trained.network.image_size)
            seen = filled_up(seen, trained.config.batch_size)
            found.append(answers(step(engine.prefix(seen))[: len(images)]))
        return found[0] if views == 1 else averaged([each for _, each in found])

    return classify


def make_ensemble(members: Sequence[Trained], views: int = 1) -> Classifier:
    """Builds the function that classifies images by the mean of several runs.

    Args:
        members: the runs, of the same classes and image size.
        views: see `make_classifier`.
    """
    classifiers = [make_classifier(member, views) for member in members]
    if len(classifiers) == 1:
        return classifiers[0]
    return lambda images: averaged([classify(images)[1] for classify in classifiers])


def averaged(probabilities: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Likeliest classes, int32 [n], and probabilities, float32 [n, classes], of a mean of several.

    The sum is taken in double precision and in the order given.
    """
    mean = np.mean([each.astype(np.float64) for each in probabilities], axis=0)
    # Of two classes the second is the likeliest where it has more than a half, as for one network.
    return np.argmax(mean, axis=1).astype(np.int32), mean.astype(np.float32)
