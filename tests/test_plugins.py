import hashlib

import pytest

from lib import plugins
from lib.errors import UserError
from lib.training.losses import LOSSES

PLUGIN = """
from lib.training.losses import LOSSES

@LOSSES.register
def {name}(logits, targets):
    return logits[:, 0]
"""


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_plugin_registers_and_is_known_by_its_content(tmp_path):
    path = write(tmp_path / "mine.py", PLUGIN.format(name="of_this_test"))
    found = plugins.load([path])
    assert found == {"mine.py": hashlib.sha256((tmp_path / "mine.py").read_bytes()).hexdigest()}
    assert "of_this_test" in LOSSES


def test_a_plugin_is_run_once_in_a_process_and_leaves_nothing_beside_it(tmp_path):
    path = write(tmp_path / "mine.py", PLUGIN.format(name="registered_once"))
    assert plugins.load([path]) == plugins.load([path])
    assert [each.name for each in tmp_path.iterdir()] == ["mine.py"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\ndef f(:\n", "line 2: SyntaxError: invalid syntax"),
        ("x = 1\n\nraise ValueError('no good')\n", "line 3: ValueError: no good"),
        ("def f():\n    return 1 / 0\nf()\n", "line 2: ZeroDivisionError"),
        ("import nowhere_at_all\n", "line 1: ModuleNotFoundError"),
        ("import sys\nsys.exit(3)\n", "line 2: SystemExit"),
        ("\x00", "SyntaxError"),
        (PLUGIN.format(name="cross_entropy"), "line 4: UserError: the loss 'cross_entropy' exists"),
    ],
)
def test_a_plugin_that_cannot_be_run_is_a_line_with_file_line_and_error(tmp_path, text, said):
    path = write(tmp_path / "mine.py", text)
    with pytest.raises(UserError) as error:
        plugins.load([path])
    assert str(error.value).startswith(f"--plugin={path}, line ")
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_plugin_that_failed_can_be_tried_again(tmp_path):
    path = write(tmp_path / "mine.py", "raise ValueError\n")
    for _ in range(2):
        with pytest.raises(UserError):
            plugins.load([path])


def test_a_missing_plugin_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.py cannot be read \(No such file"):
        plugins.load([str(tmp_path / "nowhere.py")])
