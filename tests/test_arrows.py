import ast
import re
from pathlib import Path

import pytest
from absl import flags as absl_flags

import flags
from lib.config import PHASE_FLAGS, Config

ROOT = Path(__file__).parents[1]

# What each part of `lib` may import of `lib`, besides itself. Only the commands at the end, which
# nothing but each other imports, may know all of it.
ARROWS = {
    "errors": set(),
    "randomness": set(),
    "windows": set(),
    "config": {"errors"},
    "specs": {"errors"},
    "plugins": {"config", "errors"},
    "system": {"config", "errors"},
    "data": {"config", "errors", "randomness", "specs", "system", "windows"},
    "model": {"config", "errors", "specs", "system", "windows"},
    "distribution": {"config", "errors", "system"},
    "runs": {"config", "data", "errors", "model", "system"},
    "reporting": {"config", "errors", "runs", "system"},
    "training": {"config", "data", "distribution", "errors", "model", "plugins", "randomness"}
    | {"reporting", "runs", "specs", "system"},
    "inference": {"config", "data", "distribution", "errors", "model", "plugins", "reporting"}
    | {"runs", "system", "training"},
    "registries": {"config", "data", "model", "training"},
    "train": {"config", "data", "distribution", "inference", "model", "plugins", "reporting"}
    | {"runs", "system"}
    | {"training"},
    "predict": {"config", "errors", "inference", "reporting", "runs", "system"},
    "export": {"config", "data", "errors", "inference", "runs", "system"},
    "study": {"config", "errors", "inference", "reporting", "runs", "specs", "system"}
    | {"training"},
    "compare": {"config", "errors", "inference", "reporting", "runs", "study", "system"},
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


def spelled(source):
    """The options that a source spells, as `--name` or as `--` before a value that is filled in.

    Docstrings are left out, and so are the definitions of a command's own options.
    """
    tree = ast.parse(source)
    allowed = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            allowed.add(node.value)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".add_argument"):
            allowed |= set(node.args)
        elif isinstance(node, ast.FunctionDef) and node.name == "setting":
            allowed |= set(ast.walk(node))
    texts = [node for node in ast.walk(tree) if node not in allowed]
    found = [
        name
        for node in texts
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for name in re.findall(r"--([a-z<]\w*(?:>\w+)?)", node.value)
    ]
    filled_in = [
        "{}"
        for node in texts
        if isinstance(node, ast.JoinedStr)
        for before, after in zip(node.values, node.values[1:], strict=False)
        if isinstance(before, ast.Constant) and before.value.endswith("--")
        if isinstance(after, ast.FormattedValue)
    ]
    return [*found, *filled_in]


def options():
    """The names of the flags of `train.py`, and of the options of the other commands."""
    names = {"{}", *Config().to_json(), *(f"<phase>_{field}" for field in PHASE_FLAGS)}
    names |= {flag.name for flag in absl_flags.FLAGS.flags_by_module_dict()[flags.run.__name__]}
    for part in ARROWS:
        for path in sources(part):
            names |= set(re.findall(r'"--(\w+)"', path.read_text(encoding="utf-8")))
    return names


@pytest.mark.parametrize("part", ARROWS)
def test_an_option_is_spelled_by_one_function_alone(part):
    for path in sources(part):
        names = spelled(path.read_text(encoding="utf-8"))
        assert not options() & set(names), path


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ('say(f"--seed={seed}: give another --workdir")', {"seed", "workdir"}),
        ('say(f"{text}; see --{name}=3")', {"{}"}),
        ('x = "Schedules of --<phase>_schedule"', {"<phase>_schedule"}),
        ('"""What `--seed` means."""', set()),
        ('parser.add_argument("--seed", help="in place of --workdir")', {"workdir"}),
        ('STYLES = ("-", "--", "-.")', set()),
    ],
)
def test_an_option_is_found_in_every_text_but_docstrings_and_definitions(source, names):
    assert set(spelled(source)) == names
