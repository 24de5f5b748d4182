"""Features that the runs of a study share on disk: computed by the first, read by the others.

A search for rates, optimizers or epochs sends the same images through the same frozen part in each
of its runs. What is kept of that in memory is also written to a folder, under a digest of all that
it depends on. A run that finds it there ends in the same bits, as it would have computed the same.
"""

import dataclasses
import hashlib
import json
import platform
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lib.config import NOT_IDENTITY, PHASE_FLAGS, Config
from lib.errors import reason
from lib.model.network import weights_sha256
from lib.runs.folder import require_saved
from lib.system.atomic import replacing
from lib.system.progress import say
from lib.training.learner import Learner

# Flags that say what is done with features, once they are computed; those of phases do, too, but
# for what is thawed, which `trained_from` says. Where a flag is missing here, less is shared.
_AFTER_THEM = frozenset({"loss", "class_weights", "ema", "dropout", "head_init", "exchange"})
_FACTS = ("classes", "data_sha256", "backbone_sha256", "plugins")


@dataclasses.dataclass(frozen=True)
class SharedFeatures:
    """Features in a folder, found by what they depend on.

    Attributes:
        folder: where they are; None to share none.
        origin: what they depend on, but for which images these are, and how they are varied.
    """

    folder: Path | None = None
    origin: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def load(self, what: str) -> list[np.ndarray] | None:
        """Arrays as they were saved; None where there are none, or the file is damaged.

        Args:
            what: which images these are, and how they are varied.
        """
        if self.folder is None:
            return None
        path = self._path(what)
        try:
            with np.load(path, allow_pickle=False) as found:  # a ZIP archive, with a CRC of each
                return [found[name] for name in found.files]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            say(f"warning: {path} is damaged ({reason(error)}): the features are computed again")
            return None

    def save(self, what: str, *arrays: np.ndarray) -> None:
        """Writes arrays for other runs; where that fails, these compute their own.

        Args:
            what: as for `load`.
            *arrays: of numbers.
        """
        if self.folder is None:
            return
        path = self._path(what)
        try:
            with replacing(path) as temporary:
                np.savez(temporary, *arrays)
        except OSError as error:
            say(f"warning: features could not be written for other runs ({reason(error)})")

    def _path(self, what: str) -> Path:
        described = json.dumps([self.origin, what], sort_keys=True)
        return self.folder / f"{hashlib.sha256(described.encode()).hexdigest()}.npz"


NOTHING_SHARED = SharedFeatures()


def shared_features(
    folder: Path, config: Config, learner: Learner, trained_from: int | None
) -> SharedFeatures:
    """The features that a phase of a run shares, where it was asked to.

    Args:
        folder: of the run, whose `config.json` is written.
        config: what the run is; `share_features` says where.
        learner: of the phase.
        trained_from: index of the backbone's first layer that it trains; None for no layer.
    """
    if config.share_features is None:
        return NOTHING_SHARED
    run = require_saved(folder)
    of_phases = {f"{phase.name}_{flag}" for phase in config.phases for flag in PHASE_FLAGS}
    after = NOT_IDENTITY | _AFTER_THEM | of_phases
    flags = {name: value for name, value in config.to_json().items() if name not in after}
    trained = {id(variable) for variable in learner.variables}
    frozen = [each for each in learner.network.backbone.variables if id(each) not in trained]
    return SharedFeatures(
        Path(config.share_features),
        {
            "flags": flags | {"slices": config.slices_in_use},
            "facts": {name: run.facts[name] for name in _FACTS},
            "made_by": run.made_by,
            "host": platform.node(),  # on another processor the last bits may differ
            "scaling": learner.network.scaling,
            "trained_from": trained_from,
            "frozen_sha256": weights_sha256(frozen),
        },
    )
