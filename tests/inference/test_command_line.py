import pytest

from lib.errors import UserError
from lib.inference import command_line


def ended(capsys, main):
    with pytest.raises(SystemExit) as ending:
        command_line.run("lib.it", main)
    return ending.value.code, capsys.readouterr().err


def fail(error):
    raise error


def test_the_exit_code_is_that_of_the_command(capsys):
    assert ended(capsys, lambda: 0) == (0, "")
    assert ended(capsys, lambda: 1) == (1, "")


def test_an_error_of_the_user_becomes_one_line(capsys):
    # With a text as its code, Python prints it to stderr and ends with 1.
    code, _ = ended(capsys, lambda: fail(UserError("no such thing")))
    assert code == "python -m lib.it: error: no such thing"


def test_an_interrupt_ends_without_a_traceback(capsys):
    assert ended(capsys, lambda: fail(KeyboardInterrupt())) == (130, "")


def test_a_defect_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        command_line.run("lib.it", lambda: 1 // 0)


@pytest.mark.parametrize("arguments", [["--nonsense"], ["--sizes=3"], []])
def test_bad_usage_is_one_line_and_code_2(capsys, arguments):
    parser = command_line.Parser("lib.it", "Does it.")
    parser.add_argument("--size", required=True)
    with pytest.raises(SystemExit) as ending:
        parser.parse_args(arguments)
    lines = capsys.readouterr().err.splitlines()
    assert ending.value.code == 2
    assert len(lines) == 1
    assert lines[0].startswith("python -m lib.it: error: ")
