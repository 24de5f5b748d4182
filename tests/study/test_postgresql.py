"""Several workers on one study in a real PostgreSQL; skipped where there is none."""

import json
import os
import pwd
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.study.program import kill, start, study, table

SPACE = ["--space=finetune_learning_rate=log(1e-6, 1e-2); dropout=uniform(0, 0.5)", "--trials=4"]


def programs():
    """The folder of initdb and postgres, which Debian does not put on the path."""
    places = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    if found := shutil.which("initdb"):
        places.insert(0, Path(found).parent)
    return next((place for place in places if (place / "initdb").exists()), None)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The URL of a database of our own, on a socket in a temporary folder."""
    pytest.importorskip("psycopg", reason="no driver for PostgreSQL: psycopg is not installed")
    place = programs()
    if place is None:
        pytest.skip("no PostgreSQL: initdb is neither on the path nor in /usr/lib/postgresql")
    home = tmp_path_factory.mktemp("pg")
    user = []
    if os.getuid() == 0:  # PostgreSQL does not run as root
        try:
            account = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        os.chown(home, account.pw_uid, account.pw_gid)
        for folder in [home, *home.parents][:-2]:
            folder.chmod(folder.stat().st_mode | 0o011)
        user = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}"]
        user.append("--clear-groups")
    data, run = home / "data", {"cwd": "/", "check": True, "capture_output": True}
    subprocess.run([*user, place / "initdb", "-D", data, "-U", "thaw", "-A", "trust", "-N"], **run)
    options = [f"-k{home}", "-clisten_addresses=", "-cfsync=off"]
    process = subprocess.Popen(
        [*user, place / "postgres", "-D", data, *options],
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not (home / ".s.PGSQL.5432").exists():
        assert process.poll() is None
        time.sleep(0.05)
    yield f"postgresql+psycopg://thaw@/postgres?host={home}"
    process.terminate()
    process.wait()


def trials(folder):
    return json.loads((folder / "trials.json").read_text())["trials"]


def test_two_machines_work_on_one_study(server, flags, tmp_path):
    folders = [tmp_path / machine / "together" for machine in ("one", "two")]
    asked = [*SPACE, f"--storage={server}", *flags]
    both = [start(f"--study={folder}", *asked) for folder in folders]
    said = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert trials(folders[0]) == trials(folders[1])
    assert [each["number"] for each in trials(folders[0])] == list(range(4))
    for number in range(4):
        assert sum((folder / "runs" / f"trial-{number:03d}").exists() for folder in folders) == 1


def test_a_study_that_was_killed_goes_on_as_if_it_had_not_been(server, flags, tmp_path):
    asked = [*SPACE, f"--storage={server}", *flags]
    said = study(f"--study={tmp_path / 'undisturbed'}", *asked)
    process = start(f"--study={tmp_path / 'killed'}", *asked)
    while not list(tmp_path.glob("killed/runs/trial-001/history.csv")):
        time.sleep(0.05)
    kill(process)
    assert table(study(f"--study={tmp_path / 'killed'}", *asked)) == table(said)
    assert trials(tmp_path / "killed") == trials(tmp_path / "undisturbed")


def test_the_storage_must_be_named_again_and_is_kept_without_a_password(server, flags, tmp_path):
    url = server.replace("thaw@", "thaw:secret@")
    asked = [f"--study={tmp_path / 'named'}", SPACE[0], "--trials=1"]
    study(*asked, f"--storage={url}", *flags)
    assert "secret" not in (tmp_path / "named" / "study.json").read_text()
    said = study(*asked, *flags, code=1)
    assert "differs in storage (postgresql+psycopg://thaw:***@" in said and said.count("\n") == 1
