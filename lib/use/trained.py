"""A trained run, opened for use: its classes, and its network with the weights asked for."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from lib.config import Config
from lib.errors import UserError
from lib.model.engine import cut
from lib.model.freezing import layer_index
from lib.model.network import Network, build
from lib.run_folder import Saved
from lib.training.checkpoints import Checkpoints, load_checkpoint
from lib.training.feed import filled_up
from lib.training.losses import answers
from lib.training.state import State
from lib.training.steps import make_evaluation_step

# Pictures, uint8 [n, size, size, 3], n at most a batch, to their likeliest classes, int32 [n], and
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
        checkpoint: the path, without suffix, that they came from.
    """

    config: Config
    classes: tuple[str, ...]
    network: Network
    trained_from: int | None
    checkpoint: Path


def open_trained(folder: Path, saved: Saved, checkpoint: str) -> Trained:
    """Builds the network of a run and gives it the weights of a checkpoint.

    The file of the initial weights is not needed: a checkpoint holds them all.

    Args:
        folder: of the run.
        saved: what its `config.json` says.
        checkpoint: "best", "latest", or the path of a checkpoint, with or without its suffix.

    Raises:
        UserError: there is no such checkpoint, or it is of another network.
    """
    path = _found(folder, checkpoint)
    config, classes = saved.config, tuple(saved.facts["classes"])
    network = build(len(classes), config.image_size, config.alpha, config.dropout, config.seed)
    state = State()
    try:
        load_checkpoint(path, model=network.model, state=state)
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        raise UserError(
            f"--checkpoint={path} cannot be read as one of --workdir={folder}: it is damaged, or of"
            f" another network than MobileNetV2 of alpha {config.alpha} with {len(classes)} classes"
        ) from error
    trained_from = layer_index(network.backbone, config.phase(state.phase_name).trained_from)
    return Trained(config, classes, network, trained_from, path)


def _found(folder: Path, checkpoint: str) -> Path:
    if checkpoint in ("best", "latest"):
        places = ("best",) if checkpoint == "best" else ("checkpoints", "head")
        for place in places:
            if path := Checkpoints(folder / place, keep=1).newest_good(set_aside=False):
                return path
        raise UserError(
            f"--workdir={folder} holds no {checkpoint} checkpoint yet: train it first, for an epoch"
            " at least"
        )
    path = Path(checkpoint).expanduser()
    for candidate in (path, path.with_suffix("")):
        if candidate.with_name(f"{candidate.name}.index").is_file():
            return candidate
    raise UserError(
        f"--checkpoint={checkpoint}: no such checkpoint; expected best, latest, or a path such as"
        f" {folder / 'checkpoints' / 'ckpt-100'}"
    )


def make_classifier(trained: Trained) -> Classifier:
    """Builds the function that classifies pictures, as evaluations do to the last bit."""
    config, network = trained.config, trained.network
    engine = cut(network, trained.trained_from, config.engine, config.threads)
    step = make_evaluation_step(engine, network.head)

    def classify(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        features = engine.prefix(filled_up(pictures, config.batch_size))
        return answers(step(features)[: len(pictures)])

    return classify
