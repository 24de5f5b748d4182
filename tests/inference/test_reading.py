import io
import os

import numpy as np
import pytest
from PIL import Image

from lib.data.decoding import load
from lib.errors import UserError
from lib.inference import reading
from lib.inference.reading import named_files, read_ahead


def write_image(path, level=0, size=(50, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, 0, 0)).save(path, "PNG")
    return path


def listed(*arguments, standard_input=b""):
    return list(named_files([str(a) for a in arguments], io.BytesIO(standard_input)))


def test_folders_are_searched_and_files_taken_as_they_are(tmp_path):
    deep = write_image(tmp_path / "set" / "b" / "deep.png")
    first = write_image(tmp_path / "set" / "a.PNG")
    write_image(tmp_path / "set" / ".hidden.png")
    alone = tmp_path / "not there.png"
    assert listed(alone, tmp_path / "set") == [alone, first, deep]


def test_a_dash_stands_for_names_on_standard_input(tmp_path):
    image = write_image(tmp_path / "set" / "a.png")
    odd = os.fsdecode(b"caf\xe9.jpg")
    names = os.fsencode(tmp_path / "set") + b"\n\n" + os.fsencode(odd) + b"\r\n"
    found = listed("x.png", "-", standard_input=names)
    assert [str(path) for path in found] == ["x.png", str(image), odd]


def test_a_folder_without_files_is_said(tmp_path):
    (error,) = listed(tmp_path)
    assert isinstance(error, UserError)
    assert str(tmp_path) in str(error)


def test_files_are_read_in_order_and_those_that_are_no_images_say_why(tmp_path):
    good = [write_image(tmp_path / f"{level}.png", level) for level in range(0, 200, 20)]
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    paths = [*good[:5], text, tmp_path / "missing.png", *good[5:]]
    reads = list(read_ahead(paths, size=8, shown=0, limit=3))
    assert [read.path for read in reads] == paths
    levels = [read.pixels[0, 0, 0] for read in reads if not read.fault]
    assert levels == list(range(0, 200, 20))
    assert "not a JPEG" in reads[5].fault
    assert reads[6].fault == "No such file or directory"
    assert reads[5].pixels is None


def test_what_people_see_keeps_its_shape(tmp_path):
    (read,) = read_ahead([write_image(tmp_path / "a.png", size=(500, 250))], 8, 100, limit=1)
    assert read.shown.shape == (50, 100, 3)
    assert read.pixels.shape == (8, 8, 3)


@pytest.mark.parametrize("ahead", [1, 4])
def test_no_more_is_read_than_was_allowed(tmp_path, monkeypatch, ahead):
    begun = []
    decode = reading.decode

    def counted(data):
        begun.append(len(data))
        return decode(data)

    monkeypatch.setattr(reading, "decode", counted)
    paths = [write_image(tmp_path / f"{i}.png") for i in range(20)]
    reads = read_ahead(paths, 8, 0, ahead)
    for taken in range(1, 5):
        assert np.any(next(reads).pixels == 0)
        assert taken <= len(begun) <= taken + ahead
    reads.close()
    assert len(begun) <= 4 + ahead


def test_the_network_sees_the_image_itself_and_not_what_people_see_of_it(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (300, 200, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    expected = load(tmp_path / "a.png", 64)
    (alone,) = read_ahead([tmp_path / "a.png"], 64, 0, limit=1)
    (shown,) = read_ahead([tmp_path / "a.png"], 64, 90, limit=1)
    np.testing.assert_array_equal(alone.pixels, expected)
    np.testing.assert_array_equal(shown.pixels, expected)
    assert shown.shown.shape == (90, 60, 3)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("height and width must be > 0"), "height and width must be > 0"),
        (MemoryError(), "there is not enough memory for it"),
        (OSError("unrecognized data stream"), "unrecognized data stream"),
        (SystemError(), "SystemError"),
    ],
)
@pytest.mark.parametrize("at", ["resize", "_reduced", "decode"])
def test_an_image_that_cannot_be_made_ready_costs_no_other(tmp_path, monkeypatch, at, error, said):
    paths = [write_image(tmp_path / f"{level}.png", level) for level in (10, 20, 30)]
    real = getattr(reading, at)

    def fails_for_one(given, size=None):
        image = Image.open(io.BytesIO(given)) if at == "decode" else given
        if image.getpixel((0, 0))[0] == 20:
            raise error
        return real(given) if at == "decode" else real(given, size)

    monkeypatch.setattr(reading, at, fails_for_one)
    first, second, third = read_ahead(paths, 8, 30, limit=2)
    assert (first.fault, second.fault, third.fault) == ("", said, "")
    assert (first.pixels[0, 0, 0], third.pixels[0, 0, 0]) == (10, 30)
    assert second.pixels is None and second.shown is None


def test_an_image_that_vanishes_after_it_was_listed_is_said(tmp_path):
    paths = [write_image(tmp_path / "set" / f"{i}.png") for i in range(3)]
    named = listed(tmp_path / "set")
    paths[1].unlink()
    faults = [read.fault for read in read_ahead(named, 8, 0, limit=1)]
    assert faults == ["", "No such file or directory", ""]


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "loop", "x/" * 3000 + "x"])
def test_a_name_that_no_file_can_have_costs_no_other(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    good = write_image(tmp_path / "good.png")
    names = f"{name}\n{good}\n".encode()
    bad, read = read_ahead(listed("-", standard_input=names), 8, 0, limit=1)
    assert bad.fault and not read.fault


def test_a_link_to_itself_costs_no_other_of_a_folder(tmp_path):
    good = write_image(tmp_path / "good.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    assert listed(tmp_path) == [good, tmp_path / "loop.png"]


def test_a_folder_that_cannot_be_read_costs_nothing_of_what_is_beside_it(tmp_path, monkeypatch):
    good = [write_image(tmp_path / name / "a.png") for name in ("b", "d")]
    write_image(tmp_path / "c" / "a.png")
    scan = os.scandir

    def closed(path):
        if os.path.basename(path) == "c":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", closed)
    error, *files = listed(tmp_path)
    assert str(error) == f"the folder '{tmp_path / 'c'}' cannot be read: Permission denied"
    assert files == good


def test_standard_input_that_is_closed_is_said_where_it_is_needed(tmp_path):
    good = write_image(tmp_path / "good.png")
    assert list(named_files([str(good)], None)) == [good]
    error, path = named_files(["-", str(good)], None)
    assert "standard input, but that is closed" in str(error) and path == good
