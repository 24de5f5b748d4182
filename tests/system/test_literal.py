import os
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import UserError
from lib.system.literal import literal

ODD = ["exp [1]", "[", "a]b", "a\\b", "what?", "star*", "caf\udce9"]
PLAIN = ["runs", "sp ace", "100%", "ünï", "{a,b}", "~", "new\nline"]


@pytest.mark.parametrize("name", PLAIN)
def test_a_path_that_tensorflow_takes_as_it_stands_is_left_as_it_is(tmp_path, name):
    with literal(tmp_path / name) as path:
        assert path == tmp_path / name


@pytest.mark.parametrize("name", ODD)
def test_what_is_made_by_the_other_path_lies_in_the_folder(tmp_path, name):
    folder = tmp_path / name / "checkpoints"
    folder.mkdir(parents=True)
    with literal(folder) as path:
        (path / "one").write_text("1")
    assert (folder / "one").read_text() == "1"
    assert not os.path.lexists(path.parent)


def test_a_relative_path_is_that_of_the_folder_of_now(tmp_path, monkeypatch):
    (tmp_path / "exp [1]").mkdir()
    monkeypatch.chdir(tmp_path)
    with literal(tmp_path.relative_to(tmp_path) / "exp [1]") as path:
        monkeypatch.chdir("/")
        (path / "one").write_text("1")
    assert (tmp_path / "exp [1]" / "one").exists()


@given(st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=20))
def test_no_sign_of_a_pattern_is_in_what_tensorflow_is_given(name):
    with tempfile.TemporaryDirectory() as place:
        folder = os.path.join(place, f"x{name}"[:60])
        try:
            os.mkdir(folder)
        except (OSError, UnicodeEncodeError):  # too long in bytes, or a surrogate that is no byte
            return
        from pathlib import Path

        with literal(Path(folder)) as path:
            assert not set("*?[]\\") & set(str(path))
            assert str(path).encode().decode() == str(path)
            assert path.samefile(folder)


def test_a_temporary_folder_of_an_odd_name_is_passed_over(tmp_path, monkeypatch):
    (tmp_path / "tmp [1]").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp [1]"))
    with literal(tmp_path / "tmp [1]") as path:
        assert path.samefile(tmp_path / "tmp [1]") and "[" not in str(path)


def test_where_there_is_no_other_path_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("lib.system.literal.is_literal", lambda path: False)
    with pytest.raises(UserError, match="set TMPDIR to a folder without any of"), literal(tmp_path):
        pass
