"""Files of the user's own that register more operations, losses, measures and schedules."""

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from lib.config import setting
from lib.errors import UserError


def load(paths: Sequence[str]) -> dict[str, str]:
    """Runs plugins, each once in a process; TensorFlow must have been started.

    Args:
        paths: of Python files.

    Returns:
        The name of each file and the SHA-256 of its content.

    Raises:
        UserError: there is no such file, or running it raises an error: with the line of it.
    """
    return {Path(path).name: _load(Path(path)) for path in paths}


def _load(path: Path) -> str:
    received = setting("plugin", path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{received} cannot be read ({error.strerror}); give a Python file"
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    name = f"thaw_plugin_{digest}"
    if name in sys.modules:
        return digest
    spec = importlib.util.spec_from_loader(name, loader=None, origin=str(path))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    module.__file__ = str(path)
    try:
        # Compiled here, as an import would leave a cache next to the user's file.
        exec(compile(content, str(path), "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        line = _line_of(error, path)
        what = error.msg if isinstance(error, SyntaxError) else str(error) or "no message"
        raise UserError(
            f"{received}, line {line}: {type(error).__name__}: {' '.join(what.split())}; correct it"
        ) from error
    return digest


def _line_of(error: BaseException, path: Path) -> int | str:
    """The line of a file at which an error came up."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno or 1
    frames = traceback.extract_tb(error.__traceback__)
    return next((f.lineno for f in reversed(frames) if f.filename == str(path)), "unknown")
