"""A program in a process of its own, whose terminal or reader is gone."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAYS = """
import sys
from lib.system import streams
streams.fill(); streams.outlive_readers()
from lib.system.progress import say
for stream in (sys.stdout, sys.stderr):
    for _ in range(3):
        say("much " * 20_000, stream)
with open(sys.argv[1], "w") as file:
    file.write(f"done, in {file.fileno()}")
"""


def shell(script, *arguments):
    """Runs a line of bash; $0 is the interpreter, $1 the program, $2 and so on what follows."""
    command = ["bash", "-o", "pipefail", "-c", script, sys.executable, SAYS, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize(
    "without",
    [">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-", "| head -c 1", "2>&1 >&- | head -c 1"],
)
def test_work_goes_on_without_a_stream_and_no_file_takes_its_number(tmp_path, without):
    done = shell(f'"$0" -c "$1" "$2" {without}', tmp_path / "file")
    assert done.returncode == 0
    assert "Error" not in done.stderr
    said, _, number = (tmp_path / "file").read_text().rpartition(" ")
    assert said == "done, in" and int(number) > 2


def test_what_is_said_to_a_reader_who_stays_arrives(tmp_path):
    done = shell('"$0" -c "$1" "$2"', tmp_path / "file")
    assert done.stdout.count("much") == done.stderr.count("much") == 60_000


def test_a_full_disk_is_an_error_as_ever(tmp_path):
    done = shell('"$0" -c "$1" "$2" > /dev/full', tmp_path / "file")
    assert "No space left on device" in done.stderr and done.returncode == 1


@pytest.mark.parametrize("command", ["train.py --help", "train.py --helpfull"])
def test_help_may_be_read_in_part(command):
    done = shell(f'set -o pipefail; "$0" {command} | head -n 1')
    assert done.stdout.count("\n") == 1
    assert "Traceback" not in done.stderr and "Error" not in done.stderr


@pytest.mark.parametrize("module", ["predict", "export", "compare"])
@pytest.mark.parametrize("options", ["", "-OO"])
def test_the_other_commands_have_a_help(module, options):
    done = shell(f'"$0" {options} -m lib.{module} --help | head -n 1')
    assert done.stdout.startswith(f"usage: python -m lib.{module}")
    assert "Traceback" not in done.stderr and "Error" not in done.stderr
