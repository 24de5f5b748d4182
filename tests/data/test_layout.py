"""Folders are distinguished by what they hold and by the names that people give them."""

import pytest

from lib.data.layout import find_layout
from lib.data.splits import list_folder, split, split_folder
from lib.errors import UserError


def fill(root, *folders, count=5):
    """Puts files into folders; "cats dogs" stands for two class folders."""
    for folder in folders:
        path, _, names = folder.rpartition("/")
        for name in names.split():
            (root / path / name).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                (root / path / name / f"{number}.jpg").touch()
    return root


def taken(root):
    """Part -> folder, relative to the data set's."""
    parts = find_layout(root).parts
    return {part: folder.relative_to(root).as_posix() for part, folder in parts.items()}


def classes(root):
    return split_folder(root, 0).classes


# Names of folders for training, validation and test, as public data sets have them.
NAMES = [
    ("train", "validation", "test"),
    ("training", "validation", "testing"),
    ("train", "val", "test"),
    ("train", "valid", "test"),
    ("Train", "Dev", "Test"),
    ("TRAIN", "EVAL", "TEST"),
    ("training_set", "validation_set", "test_set"),
    ("train_set", "val_set", "testset"),
    ("trainset", "devset", "testset"),
    ("Training Data", "Validation Data", "Test Data"),
    ("train-images", "val-images", "test-images"),
    ("seg_train", "seg_val", "seg_test"),
    ("train1", "val1", "test1"),
    ("cars_train", "cars_val", "cars_test"),
    ("pets-training", "pets-validation", "pets-testing"),
]


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("names", NAMES, ids="-".join)
def test_split_folders_are_known_by_many_names(tmp_path, names, nested):
    paths = [f"{name}/{name}" if nested else name for name in names]
    fill(tmp_path, *(f"{path}/cats dogs" for path in paths))
    assert taken(tmp_path) == dict(zip(("train", "validation", "test"), paths, strict=True))
    splits = split_folder(tmp_path, 0)
    assert splits.classes == ("cats", "dogs")
    for part, path in zip((splits.train, splits.validation, splits.test), paths, strict=True):
        assert {image.name.rsplit("/", 2)[0] for image in part} == {path}
        assert len(part) == 10


def test_a_folder_may_be_nested_in_one_of_another_name_for_the_same(tmp_path):
    fill(tmp_path, "training_set/train/cats dogs", "test_set/Test/cats dogs")
    assert taken(tmp_path) == {"train": "training_set/train", "test": "test_set/Test"}


def test_names_that_say_it_already_are_not_worth_a_line(tmp_path):
    fill(tmp_path, "Train/cats dogs", "validation/cats dogs", "test/cats dogs")
    assert find_layout(tmp_path).note == ""


def test_class_folders_alone_are_not_worth_a_line(tmp_path):
    assert find_layout(fill(tmp_path, "cats dogs")).note == ""


def test_what_was_taken_for_what_is_one_line(tmp_path):
    fill(tmp_path, "seg_train/seg_train/cats dogs", "seg_test/seg_test/cats dogs", "seg_pred")
    assert find_layout(tmp_path).note == (
        "Taken for training: seg_train/seg_train/, for test: seg_test/seg_test/; a fifth of each"
        " training class is held back for validation; left aside: seg_pred/"
    )


def test_names_that_mean_a_part_among_other_words_yield_to_those_that_mean_nothing_else(tmp_path):
    fill(tmp_path, "train/cats dogs", "validation/cats dogs", "old_train/cats dogs")
    assert find_layout(tmp_path).note == "Left aside: old_train/"


def test_a_given_test_set_chooses_nothing(tmp_path):
    fill(tmp_path, "train/cats dogs", "test/cats dogs", count=20)
    splits = split_folder(tmp_path, 0)
    assert {p.name.split("/")[0] for p in splits.validation} == {"train"}
    assert {p.name.split("/")[0] for p in splits.test} == {"test"}
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [32, 8, 40]
    assert not set(splits.train) & set(splits.validation)


def test_what_is_held_back_from_training_depends_on_the_seed_alone(tmp_path):
    fill(tmp_path, "train/cats dogs", "test/cats dogs", count=40)
    listing = list_folder(tmp_path)
    assert split(listing, 1) == split_folder(tmp_path, 1)
    assert set(split(listing, 1).validation) != set(split(listing, 2).validation)


def test_a_single_training_image_cannot_be_held_back(tmp_path):
    fill(tmp_path, "train/cats", "train/dogs", "test/cats dogs", count=1)
    with pytest.raises(UserError, match="class 'cats' has 1 image but needs at least 2"):
        split_folder(tmp_path, 0)


# Folders that could be taken for something else, and are classes.
CLASSES = {
    "train is a vehicle": ["bus car train"],
    "train, divided into folders as the others are": [
        "bus/city coach", "car/old new", "train/steam diesel",
    ],
    "train, with one folder in each class": ["bus/images", "car/images", "train/images"],
    "train, some of whose images are in a folder": ["bus car train", "train/more"],
    "two trains": ["bullet_train steam_train"],
    "a crash test": ["bullet_train crash_test"],
    "tests of two kinds": ["blood_test skin_test"],
    "valid is the opposite of invalid": ["valid invalid"],
    "training is the opposite of resting": ["training resting"],
    "names that only begin like parts": ["trainers tester value"],
    "classes with different folders inside": ["cats/tabby siamese", "dogs/poodle beagle"],
    "classes with one folder of the same name": ["cats/images", "dogs/images"],
    "folders of the same names next to images": ["cats dogs", "cats/in out", "dogs/in out"],
}  # fmt: skip


@pytest.mark.parametrize("folders", CLASSES.values(), ids=CLASSES)
def test_classes_may_have_names_of_split_folders(tmp_path, folders):
    fill(tmp_path, *folders)
    expected = sorted({name for each in folders for name in each.split("/")[0].split()})
    assert list(classes(tmp_path)) == expected
    assert find_layout(tmp_path).note == ""


def test_class_folders_may_have_the_names_of_split_folders_inside_of_these(tmp_path):
    fill(tmp_path, "train/bus test train", "val/bus test train")
    assert classes(tmp_path) == ("bus", "test", "train")


# Test folders without classes: (folders, classes, what is said to be left aside).
UNLABELLED = {
    "next to split folders": (["train/cats dogs", "validation/cats dogs", "test"], "test/"),
    "next to training alone": (["train/cats dogs", "test"], "test/"),
    "next to class folders": (["cats dogs", "testing"], "testing/"),
    "nested once": (["train/cats dogs", "val/cats dogs", "test/test"], "test/test/"),
    "in a folder that is no class": (["train/cats dogs", "val/cats dogs", "test/all"], "test/"),
    "of a data set with a name": (
        ["asl_train/cats dogs", "asl_test/asl_test"], "asl_test/asl_test/",
    ),
    "next to training and something else": (
        ["train/cats dogs", "test", "raw/one two"], "test/",
    ),
    "next to another that has classes": (
        ["train/cats dogs", "val/cats dogs", "testing/cats dogs", "test"], "test/",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("folders", "aside"), UNLABELLED.values(), ids=UNLABELLED)
def test_test_images_without_classes_are_left_aside_with_a_line(tmp_path, folders, aside):
    fill(tmp_path, *folders)
    assert f"eft aside: {aside} (no class folders)" in find_layout(tmp_path).note
    splits = split_folder(tmp_path, 0)
    assert splits.classes == ("cats", "dogs")
    everything = splits.train + splits.validation + splits.test
    assert not [p for p in everything if p.name.startswith(aside)]
    assert splits.validation and splits.test


def test_an_empty_test_folder_is_left_aside_too(tmp_path):
    fill(tmp_path, "train/cats dogs", "validation/cats dogs")
    (tmp_path / "test").mkdir()
    assert find_layout(tmp_path).note == "Left aside: test/ (no class folders)"


# What can be read in two ways: (folders, what the error says).
UNCLEAR = {
    "parts of unknown names": (
        ["fold1/cats dogs", "fold2/cats dogs"],
        "fold1/ and fold2/, each of which holds 'cats', 'dogs': these look like parts",
    ),
    "such parts nested once": (
        ["one/one/cats dogs", "two/two/cats dogs"],
        "one/one/ and two/two/, each of which holds 'cats', 'dogs'",
    ),
    "such parts with a class more in one": (
        ["a/cats dogs", "b/cats dogs owls"], "a/ and b/, each of which holds 'cats', 'dogs'",
    ),
    "parts inside of classes": (
        ["cats/train test", "dogs/train test"], "each of which holds 'test', 'train'",
    ),
    "a copy of the data set in itself": (
        ["cats dogs", "pets/cats dogs"],
        "pets' holds 'cats', 'dogs', which are folders next to it too: it looks like a copy",
    ),
    "training twice": (
        ["Train/cats dogs", "train/cats dogs", "validation/cats dogs"],
        "holds Train/ and train/, which all may be for training; expected one",
    ),
    "validation twice": (
        ["train/cats dogs", "val/cats dogs", "dev/cats dogs"],
        "holds dev/ and val/, which all may be for validation",
    ),
    "no class folders": (["train val"], "train' must hold two or more class folders"),
    "no class folders, under other names": (["train test1"], "train' must hold two or more class"),
    "class folders in training alone": (
        ["train/cats dogs", "val"], "val' must hold two or more class folders",
    ),
    "training next to classes": (
        ["cats dogs", "train/cats dogs"],
        "holds train/ but no validation/, next to cats/ and dogs/",
    ),
    "training next to images": (
        ["train/cats dogs", "holdout"], "holds train/ but no validation/, next to holdout/",
    ),
    "one class and a test": (
        ["control test"], "only one, 'control' (and test/ without class folders",
    ),
    "parts of different classes": (
        ["training/cats dogs", "dev/cats owls"],
        "training/ and dev/ must have the same classes; only in training/: 'dogs'",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("folders", "said"), UNCLEAR.values(), ids=UNCLEAR)
def test_what_can_be_read_in_two_ways_is_an_error_that_says_what_was_found(tmp_path, folders, said):
    fill(tmp_path, *folders)
    with pytest.raises(UserError) as error:
        split_folder(tmp_path, 0)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_training_alone_is_an_error_that_says_how_it_can_be_taken(tmp_path):
    fill(tmp_path, "train/cats dogs")
    with pytest.raises(UserError, match=f"--dataset={tmp_path}/train, of which a quarter"):
        find_layout(tmp_path)


def test_tables_and_notes_beside_class_folders_do_not_matter(tmp_path):
    fill(tmp_path, "training/cats dogs", "dev/cats dogs")
    for name in ("labels.csv", "training/README.txt", "dev/classes.json"):
        (tmp_path / name).touch()
    assert taken(tmp_path) == {"train": "training", "validation": "dev"}
