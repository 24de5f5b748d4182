"""The command line: definitions by topic, presets (*.cfg), and what they add up to.

Beside `train.py`, which starts absl's app, this package is the only place that knows absl.
Everything else receives a `lib.config.Config`.
"""

import dataclasses
import sys
from collections.abc import Sequence

from absl import app
from absl import flags as absl_flags

from flags import data, model, phases, run
from lib.config import Config, resolved

__all__ = ["configuration", "data", "model", "parse", "phases", "run"]


def parse(argv: Sequence[str]) -> list[str]:
    """Parses the command line for `absl.app.run`; leaves the program with code 2 where it is wrong.

    Args:
        argv: the program's name and its arguments.

    Returns:
        What is left of `argv`: the program's name.
    """
    app.define_help_flags()
    try:
        rest = absl_flags.FLAGS(list(argv))
    except absl_flags.Error as error:
        sys.exit(_refuse(str(error)))
    except SystemExit:  # of absl, which has shown the help, and takes that for a failure
        sys.exit(0)
    if len(rest) > 1:
        sys.exit(_refuse(f"unexpected argument {rest[1]!r}: every option starts with --"))
    return rest


def _refuse(problem: str) -> int:
    line = " ".join(problem.removeprefix("flag ").split())
    print(f"train.py: error: {line} (see --help)", file=sys.stderr)
    return 2


def configuration(run: Config | None = None) -> Config:
    """The configuration that the parsed flags add up to: a field is a flag of the same name.

    Args:
        run: where given, the configuration of a run, which stands for the flags that were not set.
    """
    parsed = absl_flags.FLAGS
    names = [field.name for field in dataclasses.fields(Config)]
    if run is None:
        return resolved(Config(**{name: parsed[name].value for name in names}))
    given = {name: parsed[name].value for name in names if parsed[name].present}
    return resolved(dataclasses.replace(run, **given))
