"""The network of a run, built with all that its configuration names, before the long work."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras

from lib.config import Config, setting
from lib.data.augmentation import augmentation_of
from lib.data.examples import target_columns
from lib.errors import UserError
from lib.model.architecture import build_backbone, open_kept
from lib.model.backbones import alpha_of, comes_with_weights
from lib.model.freezing import first_trained
from lib.model.network import Network, build
from lib.model.weights import load_pretrained
from lib.system.progress import bar
from lib.training.losses import class_weights, make_loss
from lib.training.optimizers import build_optimizer, make_schedule


def build_network(config: Config, classes: Sequence[str], kept: Path | None = None) -> Network:
    """The network of a run, with its first weights.

    Args:
        config: what the run is.
        classes: their names.
        kept: the folder of a run that holds a checkpoint, this one or the one that it begins
            with: its backbone is built as that was, and without the weights that came with it.

    Raises:
        UserError: the configuration cannot be trained, or the weights cannot be obtained or do not
            fit.
    """
    backbone, scaling = (kept and open_kept(kept)) or build_backbone(config, bar)
    require_trainable(config, backbone, classes)
    if not config.from_run and not comes_with_weights(config):
        load_pretrained(backbone, config.weights, alpha_of(config), bar, config.backbone)
    return build(backbone, len(classes), config.dropout, config.seed, scaling, config.head_init)


def require_trainable(config: Config, backbone: keras.Model, classes: Sequence[str]) -> None:
    """Builds once what the configuration names.

    Args:
        config: what the run is.
        backbone: of its network.
        classes: their names.

    Raises:
        UserError: it names an operation, loss, optimizer, schedule or layer that there is not, or
            gives it arguments that it does not take.
    """
    augmentation_of(config)
    with _given("loss", config.loss):
        make_loss(config.loss, columns=target_columns(len(classes)))
    with _given("class_weights", config.class_weights):
        class_weights(config.class_weights, classes, counts=[1] * len(classes))
    for phase in config.phases:
        with _given(f"{phase.name}_schedule", phase.schedule):
            schedule = make_schedule(phase.schedule, max(1, phase.epochs), phase.learning_rate)
        with _given(f"{phase.name}_optimizer", phase.optimizer):
            build_optimizer(phase.optimizer, schedule)
        first_trained(backbone, phase)


@contextlib.contextmanager
def _given(name: str, value: str) -> Iterator[None]:
    """Says of an error which setting it is about."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{setting(name, value)}: {error}") from error
