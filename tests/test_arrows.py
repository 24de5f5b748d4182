import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# What each part of `lib` may import of `lib`, besides itself. Only the commands at the end, which
# nothing but each other imports, may know all of it.
ARROWS = {
    "errors": set(),
    "randomness": set(),
    "config": {"errors"},
    "specs": {"errors"},
    "plugins": {"config", "errors"},
    "system": {"config", "errors"},
    "data": {"config", "errors", "randomness", "specs", "system"},
    "model": {"config", "errors", "system"},
    "runs": {"config", "data", "errors", "model", "system"},
    "reporting": {"config", "errors", "runs", "system"},
    "training": {"config", "data", "errors", "model", "plugins", "randomness", "reporting", "runs"}
    | {"specs", "system"},
    "inference": {"config", "data", "errors", "model", "reporting", "runs", "system", "training"},
    "registries": {"data", "training"},
    "train": {"config", "data", "inference", "reporting", "runs", "system", "training"},
    "predict": {"config", "errors", "inference", "reporting", "system"},
    "export": {"config", "data", "errors", "inference", "system"},
    "compare": {"config", "errors", "inference", "reporting", "runs", "system"},
}
COMMAND_LINE = {"absl", "flags", "train"}


def parts_of_lib():
    return {path.stem for path in (ROOT / "lib").iterdir() if path.suffix in ("", ".py")} - {
        "__init__",
        "__pycache__",
    }


def sources(part):
    folder = ROOT / "lib" / part
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]


def imported(source, package="lib"):
    """All modules that a source imports, wherever in it, as (first name, second name or "")."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level]
            module = ".".join([*(above if node.level else []), *filter(None, [node.module])])
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return {tuple([*name.split("."), ""][:2]) for name in names}


def imports_of(path):
    package = ".".join(path.relative_to(ROOT).parent.parts)
    return imported(path.read_text(encoding="utf-8"), package)


def test_every_part_of_lib_has_its_arrows():
    assert parts_of_lib() == ARROWS.keys()


@pytest.mark.parametrize("part", ARROWS)
def test_a_part_imports_only_what_its_arrows_allow(part):
    for path in sources(part):
        known = {name for package, name in imports_of(path) if package == "lib"}
        assert known <= ARROWS[part] | {part}, path


@pytest.mark.parametrize("part", ARROWS)
def test_no_part_knows_the_command_line(part):
    for path in sources(part):
        assert not {package for package, _ in imports_of(path)} & COMMAND_LINE, path


def test_the_arrows_form_no_circle():
    left = {part: set(known) for part, known in ARROWS.items()}
    while free := [part for part, known in left.items() if not known & left.keys()]:
        for part in free:
            del left[part]
    assert not left


@pytest.mark.parametrize(
    "source",
    [
        "import lib.model.engine",
        "from lib.model import engine",
        "from lib import model",
        "from ..model import engine",
        "def later():\n    from lib.model.engine import cut",
    ],
)
def test_an_import_is_found_however_it_is_written(source):
    assert ("lib", "model") in imported(source, "lib.data")
