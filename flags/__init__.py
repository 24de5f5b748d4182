"""The command line: definitions by topic, presets (*.cfg), and what they add up to.

Besides `train.py`, which starts absl's app, this package is the only place that knows absl.
Everything else receives a `lib.config.Config`.
"""

import dataclasses
import functools
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from absl import app
from absl import flags as absl_flags

from flags import data, model, phases, run
from lib.config import Config, backbone_file, fold_of, resolved
from lib.errors import UserError
from lib.model.backbones import default_size, record_of
from lib.runs.folder import saved
from lib.system import runtime

__all__ = ["configuration", "data", "model", "parse", "phases", "run"]

_HELP = ("--help", "-help", "--helpfull", "--helpshort", "-h", "-?")


def parse(argv: Sequence[str]) -> list[str]:
    """Parses the command line for `absl.app.run`; leaves the program with code 2 where it is wrong.

    Args:
        argv: the program's name and its arguments.

    Returns:
        What is left of `argv`: the program's name.
    """
    app.define_help_flags()
    try:
        if any(argument in _HELP for argument in argv[1:]):
            phases.define(argv[1:])
            print(_help())
            sys.exit(0)
        return parsed(argv)
    except UserError as error:
        print(f"train.py: error: {error} (see --help)", file=sys.stderr)
        sys.exit(2)


def parsed(argv: Sequence[str]) -> list[str]:
    """Parses the command line as `parse` does.

    Raises:
        UserError: it is wrong.
    """
    try:
        phases.define(argv[1:])
        rest = absl_flags.FLAGS(list(argv))
        if len(rest) > 1:
            raise UserError(f"unexpected argument {rest[1]!r}: every option starts with --")
        configuration()
        _require_known(run.PHASE, ("all", *phases.PHASES.value, "evaluate"))
        _require_known(run.FIND_RATE, (None, *phases.PHASES.value))
    except (absl_flags.Error, UserError) as error:
        raise UserError(" ".join(str(error).removeprefix("flag ").split())) from error
    return rest


def _require_known(flag: absl_flags.FlagHolder, known: Sequence[str | None]) -> None:
    if flag.value not in known:
        names = ", ".join(dict.fromkeys(filter(None, known)))
        raise UserError(f"--{flag.name}={flag.value}: expected one of {names}")


def _help() -> str:
    """All flags by topic, and what the words in their values can be."""
    with runtime.quietly():  # of TensorFlow, for which nobody else waits
        from lib.registries import OPTIMIZERS, REGISTRIES

    topics = [absl_flags.FLAGS.module_help(module) for module in (run, data, model, phases)]
    fill = functools.partial(textwrap.fill, width=96, subsequent_indent="      ")
    chapters = [
        "\n".join([f"{title}:", *(fill(f"  {name}: {line}") for name, line in entries.describe())])
        for title, entries in REGISTRIES.items()
    ]
    chapters.append(fill(f"Optimizers of --<phase>_optimizer: {', '.join(sorted(OPTIMIZERS))}"))
    return "\n\n".join([sys.modules["__main__"].__doc__ or "", *topics, *chapters])


def configuration(run: Config | None = None) -> Config:
    """The configuration that the parsed flags add up to: a field is a flag of the same name.

    Args:
        run: where given, the configuration of a run, which stands for the flags that were not set.
    """
    parsed = absl_flags.FLAGS
    base = run or Config()
    names = [field.name for field in dataclasses.fields(Config) if field.name != "phases"]
    given = {name: parsed[name].value for name in names if parsed[name].present}
    if "plugin" in given:
        given["plugin"] = tuple(given["plugin"])
    record = record_of(given.get("backbone", base.backbone))
    asked = phases.phases(run.phases if run else (), record.thaw if record else "35%")
    fold_of(given.get("fold"))
    config = dataclasses.replace(base, **given, phases=asked)
    if run is None and "backbone" in given and "image_size" not in given:
        found = resolved(dataclasses.replace(config, source_size=None))
        config = dataclasses.replace(config, image_size=_size(found))
    return resolved(config)


def _size(config: Config) -> int:
    """The side of the images where it is not asked for: what the backbone was made for."""
    file = backbone_file(config.backbone)
    if file and not file.exists() and (before := saved(Path(config.workdir))):
        return before.config.image_size  # the run goes on without the file
    return default_size(config.backbone)
