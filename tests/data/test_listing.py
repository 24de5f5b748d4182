import os
import unicodedata

import pytest

from lib.data.listing import ImageFile, list_classes
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
    assert listed["dogs"] == (ImageFile(tmp_path / "dogs" / "2.jpg", "dogs/2.jpg", 2),)


@pytest.mark.parametrize(
    "classes",
    [
        [str(number) for number in range(12)],
        ["-10", "-2", "0", "0.5", "3", "20.25"],
        ["01", "2", "003", "10"],
        ["1998", "2007", "12000"],
    ],
)
def test_classes_that_are_all_numbers_are_in_the_order_of_their_values(tmp_path, classes):
    fill(tmp_path, *(f"{name}/1.jpg" for name in reversed(classes)))
    listed = list_classes(tmp_path, tmp_path)
    assert list(listed) == classes
    assert [images[0].label for images in listed.values()] == list(range(len(classes)))


@pytest.mark.parametrize(
    "classes",
    [["1", "10", "2", "other"], ["1.0.0", "10", "2"], ["1e3", "20"], ["10", "2a"], ["10", "٢"]],
)
def test_where_one_class_is_no_number_all_are_in_the_order_of_words(tmp_path, classes):
    fill(tmp_path, *(f"{name}/1.jpg" for name in classes))
    assert list(names_in(tmp_path)) == classes


def test_images_are_in_the_order_of_their_names(tmp_path):
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
    (image,) = list_classes(tmp_path, tmp_path)["cats"]
    assert image.name.encode() == b"cats/caf\\xe9.jpg"
    assert image.path.read_bytes() == b"x"


# What systems and their programs leave in folders of images; all that ends in / is a folder.
LEFT_BEHIND = [
    *(".DS_Store", "._1.jpg", "Icon\r", "Icon\uf00d", "__MACOSX/", "Temporary Items/"),
    *("Thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "Desktop.ini"),
    *("$RECYCLE.BIN/", "$Recycle.Bin/", "RECYCLER/", "System Volume Information/", "found.000/"),
    *("lost+found/", "LOST.DIR/", ".Trash-1000/"),
    *("@eaDir/", "#recycle/", "#snapshot/", "@Recycle/", "@Recently-Snapshot/", ".@__thumb/"),
    *("1.jpg@SynoEAStream", "1.jpg@SynoResource", "@tmp/"),
    *("Picasa.ini", ".picasa.ini", "ZbThumbnail.info", ".ipynb_checkpoints/", "__pycache__/"),
]


@pytest.mark.parametrize("left", LEFT_BEHIND)
def test_what_systems_leave_behind_is_passed_over(tmp_path, left):
    left += "x.jpg" if left.endswith("/") else ""
    fill(tmp_path, "cats/1.jpg", "dogs/1.jpg", f"cats/{left}", f"cats/deeper/{left}", left)
    assert names_in(tmp_path) == {"cats": ["cats/1.jpg"], "dogs": ["dogs/1.jpg"]}


def test_folders_of_systems_are_not_even_opened(tmp_path, monkeypatch):
    fill(tmp_path, "cats/1.jpg", "dogs/1.jpg", "lost+found/1.jpg", "cats/lost+found/1.jpg")
    scandir = os.scandir

    def refuse(folder):
        if os.fspath(folder).endswith("lost+found"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert names_in(tmp_path) == {"cats": ["cats/1.jpg"], "dogs": ["dogs/1.jpg"]}


@pytest.mark.parametrize("name", ["thumbs", "icon", "recycle", "found", "ea", "@home", "$5 notes"])
def test_names_that_only_resemble_these_are_classes(tmp_path, name):
    fill(tmp_path, "cats/1.jpg", f"{name}/1.jpg")
    assert set(names_in(tmp_path)) == {"cats", name}


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


@pytest.mark.parametrize("target", ["/nowhere/owls", "owls"])
def test_a_class_folder_that_is_a_broken_link_is_an_error_that_names_it(tmp_path, target):
    fill(tmp_path, "cats/1.jpg", "dogs/1.jpg")
    (tmp_path / "owls").symlink_to(target)
    with pytest.raises(UserError, match=f"owls' is a link that cannot be followed to '{target}'"):
        list_classes(tmp_path, tmp_path)


def test_a_class_folder_may_be_a_link(tmp_path):
    fill(tmp_path, "elsewhere/1.jpg", "set/dogs/1.jpg")
    (tmp_path / "set" / "cats").symlink_to(tmp_path / "elsewhere")
    assert names_in(tmp_path / "set")["cats"] == ["cats/1.jpg"]


def test_a_link_to_itself_is_listed_so_that_it_will_be_named_as_bad(tmp_path):
    fill(tmp_path, "cats/1.jpg", "dogs/1.jpg")
    (tmp_path / "cats" / "round.jpg").symlink_to("round.jpg")
    assert names_in(tmp_path)["cats"] == ["cats/1.jpg", "cats/round.jpg"]


def test_what_is_neither_file_nor_folder_is_passed_over(tmp_path):
    fill(tmp_path, "cats/1.jpg", "dogs/1.jpg")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "cats" / "pipe.jpg").symlink_to(tmp_path / "pipe")  # reading it would never end
    assert names_in(tmp_path)["cats"] == ["cats/1.jpg"]


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
    with pytest.raises(UserError, match="dogs' holds no images"):
        list_classes(tmp_path, tmp_path)


def test_a_folder_that_may_not_be_read_is_an_error(tmp_path, monkeypatch):
    fill(tmp_path, "cats/1.jpg", "dogs/1.jpg")

    def refuse(folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match="cannot be read: Permission denied"):
        list_classes(tmp_path, tmp_path)
