"""Checks command lines of `train.py` without training: for a program that is to start many.

    python -m flags.check < COMMAND_LINES.json

Reads `{"command_lines": [...], "trainable": true}`, where a command line is a list of arguments,
and writes a list of as many answers: what the flags add up to, or what is wrong. All that a start
of `train.py` finds out before it reads images is found out here, in one process: flags, and where
`trainable` is true, classes, plugins, operations, losses, optimizers, layers.
"""

import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags as absl_flags

import flags
from lib.config import Config
from lib.data.dataset import list_classes_of, require_outside
from lib.errors import UserError
from lib.model.backbones import require_known
from lib.system import runtime
from lib.system.progress import bar
from lib.training.parts import fetch_weights


def answers(command_lines: Sequence[Sequence[str]], trainable: bool) -> list[dict[str, Any]]:
    """What each command line adds up to.

    Args:
        command_lines: the arguments of each.
        trainable: whether what they name is built, too.

    Returns:
        For each, either `flags` (the configuration), `given` (the names of the flags that were
        set) and `arguments` (with those in flag files in their places), or `error` (one line).
    """
    found, configs = [], []
    for arguments in command_lines:
        try:
            config, answer = _parsed(arguments)
        except UserError as error:
            found.append({"error": str(error)})
            continue
        configs.append((len(found), config))
        found.append(answer)
    for place, config in configs if trainable else []:
        try:
            _require_trainable(config)
        except UserError as error:
            found[place] = {"error": str(error)}
    return found


def _parsed(arguments: Sequence[str]) -> tuple[Config, dict[str, Any]]:
    known = absl_flags.FLAGS
    for name in known:
        known[name].unparse()
    known.unparse_flags()
    flags.parsed(["train.py", *arguments])
    given = [name for name in known if known[name].present and name != "flagfile"]
    config = flags.configuration()
    expanded = known.read_flags_from_files(list(arguments), force_gnu=False)
    return config, {"flags": config.to_json(), "given": given, "arguments": expanded}


def _require_trainable(config: Config) -> None:
    require_outside(config)
    require_known(config)
    fetch_weights(config)
    classes = list_classes_of(config, bar)
    if "tensorflow" not in sys.modules:
        runtime.start(config.threads or runtime.cores(), config.seed)
    from lib import plugins
    from lib.runs import resume
    from lib.training.trainable import build_network

    plugins.load(config.plugin)
    build_network(config, classes, config.from_run and Path(config.from_run))
    resume.find_other(config, classes, before=None)


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr):  # what is said goes there
        done = answers(**asked)
    json.dump(done, sys.stdout)
