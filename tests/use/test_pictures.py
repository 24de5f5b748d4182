import io
import os

import numpy as np
import pytest
from PIL import Image

from lib.errors import UserError
from lib.use import pictures
from lib.use.pictures import named_files, read_ahead


def write_picture(path, level=0, size=(50, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, 0, 0)).save(path, "PNG")
    return path


def listed(*arguments, standard_input=b""):
    return list(named_files([str(a) for a in arguments], io.BytesIO(standard_input)))


def test_folders_are_searched_and_files_taken_as_they_are(tmp_path):
    deep = write_picture(tmp_path / "set" / "b" / "deep.png")
    first = write_picture(tmp_path / "set" / "a.PNG")
    write_picture(tmp_path / "set" / ".hidden.png")
    alone = tmp_path / "not there.png"
    assert listed(alone, tmp_path / "set") == [alone, first, deep]


def test_a_dash_stands_for_names_on_standard_input(tmp_path):
    picture = write_picture(tmp_path / "set" / "a.png")
    odd = os.fsdecode(b"caf\xe9.jpg")
    names = os.fsencode(tmp_path / "set") + b"\n\n" + os.fsencode(odd) + b"\r\n"
    found = listed("x.png", "-", standard_input=names)
    assert [str(path) for path in found] == ["x.png", str(picture), odd]


def test_a_folder_without_files_is_said(tmp_path):
    (error,) = listed(tmp_path)
    assert isinstance(error, UserError)
    assert str(tmp_path) in str(error)


def test_files_are_read_in_order_and_those_that_are_no_pictures_say_why(tmp_path):
    good = [write_picture(tmp_path / f"{level}.png", level) for level in range(0, 200, 20)]
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    paths = [*good[:5], text, tmp_path / "missing.png", *good[5:]]
    reads = list(read_ahead(paths, size=8, shown=0, limit=3))
    assert [read.path for read in reads] == paths
    levels = [read.pixels[0, 0, 0] for read in reads if not read.fault]
    assert levels == list(range(0, 200, 20))
    assert "not a JPEG" in reads[5].fault
    assert reads[6].fault == "No such file or directory"
    assert reads[5].pixels is None


def test_what_people_see_keeps_its_shape(tmp_path):
    (read,) = read_ahead([write_picture(tmp_path / "a.png", size=(500, 250))], 8, 100, limit=1)
    assert read.shown.shape == (50, 100, 3)
    assert read.pixels.shape == (8, 8, 3)


@pytest.mark.parametrize("ahead", [1, 4])
def test_no_more_is_read_than_was_allowed(tmp_path, monkeypatch, ahead):
    begun = []
    decode = pictures.decode

    def counted(data):
        begun.append(len(data))
        return decode(data)

    monkeypatch.setattr(pictures, "decode", counted)
    paths = [write_picture(tmp_path / f"{i}.png") for i in range(20)]
    reads = read_ahead(paths, 8, 0, ahead)
    for taken in range(1, 5):
        assert np.any(next(reads).pixels == 0)
        assert taken <= len(begun) <= taken + ahead
    reads.close()
    assert len(begun) <= 4 + ahead
