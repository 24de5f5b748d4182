import os
import unicodedata

import pytest

from lib.data.listing import Picture, list_classes
from lib.errors import UserError


def fill(root, *names):
    """Lists never look into a file, so any content will do."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def names_in(root):
    return {name: [p.name for p in found] for name, found in list_classes(root, root).items()}


def test_classes_are_numbered_in_the_order_of_their_names(tmp_path):
    fill(tmp_path, "dogs/2.jpg", "cats/1.jpg", "ants/3.jpg")
    listed = list_classes(tmp_path, tmp_path)
    assert list(listed) == ["ants", "cats", "dogs"]
    assert listed["dogs"] == (Picture(tmp_path / "dogs" / "2.jpg", "dogs/2.jpg", 2),)


def test_pictures_are_in_the_order_of_their_names(tmp_path):
    fill(tmp_path, "dogs/1.jpg", *(f"cats/{i:02}.jpg" for i in reversed(range(30))))
    assert names_in(tmp_path)["cats"] == [f"cats/{i:02}.jpg" for i in range(30)]


def test_names_are_relative_to_the_root_of_the_data_set(tmp_path):
    fill(tmp_path, "train/cats/1.jpg", "train/dogs/1.jpg")
    listed = list_classes(tmp_path / "train", tmp_path)
    assert listed["cats"][0].name == "train/cats/1.jpg"


def test_folders_inside_a_class_are_searched(tmp_path):
    fill(tmp_path, "cats/2019/spring/a.jpg", "cats/b.jpg", "dogs/c.jpg")
    assert names_in(tmp_path)["cats"] == ["cats/2019/spring/a.jpg", "cats/b.jpg"]


def test_spaces_extensions_and_foreign_letters_make_no_difference(tmp_path):
    fill(tmp_path, "Große Katzen/my cat (1).JPEG", "Große Katzen/猫", "狗/ .png")
    assert names_in(tmp_path) == {
        "Große Katzen": ["Große Katzen/my cat (1).JPEG", "Große Katzen/猫"],
        "狗": ["狗/ .png"],
    }


def test_names_are_the_same_whether_the_file_system_composes_letters_or_not(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "cafés") for form in ("NFC", "NFD"))
    fill(tmp_path, f"{decomposed}/é.jpg", "dogs/1.jpg")
    assert list(names_in(tmp_path)) == [composed, "dogs"]
    listed = list_classes(tmp_path, tmp_path)
    assert listed[composed][0].path.read_bytes() == b"x"


def test_names_that_are_not_unicode_can_be_printed(tmp_path):
    folder = os.fsencode(tmp_path / "cats")
    os.mkdir(folder)
    with open(folder + b"/caf\xe9.jpg", "wb") as file:
        file.write(b"x")
    fill(tmp_path, "dogs/1.jpg")
    (picture,) = list_classes(tmp_path, tmp_path)["cats"]
    assert picture.name.encode() == b"cats/caf\\xe9.jpg"
    assert picture.path.read_bytes() == b"x"


@pytest.mark.parametrize("junk", [".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX/x.jpg"])
def test_what_file_managers_leave_behind_is_ignored(tmp_path, junk):
    fill(tmp_path, "cats/1.jpg", "dogs/1.jpg", f"cats/{junk}", f"cats/deeper/{junk}", junk)
    assert names_in(tmp_path) == {"cats": ["cats/1.jpg"], "dogs": ["dogs/1.jpg"]}


def test_hidden_folders_and_files_beside_the_class_folders_are_no_classes(tmp_path):
    fill(tmp_path, "cats/1.jpg", "dogs/1.jpg", ".cache/1.jpg", "README.txt", "stray.jpg")
    assert list(names_in(tmp_path)) == ["cats", "dogs"]


def test_symbolic_links_to_files_and_folders_are_followed(tmp_path):
    fill(tmp_path, "elsewhere/1.jpg", "elsewhere/more/2.jpg", "set/dogs/1.jpg")
    (tmp_path / "set" / "cats").mkdir()
    (tmp_path / "set" / "cats" / "a.jpg").symlink_to(tmp_path / "elsewhere" / "1.jpg")
    (tmp_path / "set" / "cats" / "b").symlink_to(tmp_path / "elsewhere" / "more")
    assert names_in(tmp_path / "set")["cats"] == ["cats/a.jpg", "cats/b/2.jpg"]


def test_symbolic_links_in_a_circle_end_the_search(tmp_path):
    fill(tmp_path, "cats/in/1.jpg", "dogs/1.jpg")
    (tmp_path / "cats" / "in" / "back").symlink_to(tmp_path / "cats")
    assert names_in(tmp_path)["cats"] == ["cats/in/1.jpg"]


def test_a_broken_link_is_listed_so_that_it_will_be_named_as_bad(tmp_path):
    fill(tmp_path, "cats/1.jpg", "dogs/1.jpg")
    (tmp_path / "cats" / "lost.jpg").symlink_to(tmp_path / "nowhere")
    assert names_in(tmp_path)["cats"] == ["cats/1.jpg", "cats/lost.jpg"]


def test_a_link_to_itself_is_like_any_broken_one(tmp_path):
    fill(tmp_path, "cats/1.jpg", "dogs/1.jpg")
    (tmp_path / "cats" / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "loop").symlink_to("loop")
    assert names_in(tmp_path) == {"cats": ["cats/1.jpg", "cats/loop.jpg"], "dogs": ["dogs/1.jpg"]}


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"no such folder: .*pets"):
        list_classes(tmp_path / "pets", tmp_path)


def test_a_file_instead_of_a_folder_is_an_error(tmp_path):
    fill(tmp_path, "pets.zip")
    with pytest.raises(UserError, match=r"pets\.zip' is a file; expected a folder"):
        list_classes(tmp_path / "pets.zip", tmp_path)


def test_no_class_folder_is_an_error(tmp_path):
    fill(tmp_path, "1.jpg", "2.jpg")
    with pytest.raises(UserError, match="two or more class folders, but there is none"):
        list_classes(tmp_path, tmp_path)


def test_one_class_only_is_an_error_that_names_it(tmp_path):
    fill(tmp_path, "cats/1.jpg", "cats/2.jpg")
    with pytest.raises(UserError, match="two or more class folders, but there is only one, 'cats'"):
        list_classes(tmp_path, tmp_path)


def test_an_empty_class_is_an_error_that_names_it(tmp_path):
    fill(tmp_path, "cats/1.jpg", "dogs/.DS_Store")
    with pytest.raises(UserError, match="dogs' holds no pictures"):
        list_classes(tmp_path, tmp_path)


def test_a_folder_that_may_not_be_read_is_an_error(tmp_path, monkeypatch):
    fill(tmp_path, "cats/1.jpg", "dogs/1.jpg")

    def refuse(folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match="cannot be read: Permission denied"):
        list_classes(tmp_path, tmp_path)
