"""What the user may get wrong: one line that says so, before any training."""

import os
import shutil
from pathlib import Path

import pytest

from tests.runs.conftest import train


def refused(*flags, code=1, **options):
    """The one line on stderr."""
    done = train(*flags, code=code, **options)
    assert done.err.count("\n") == 1, done.err
    assert done.err.startswith("train.py: error: ")
    assert "Traceback" not in done.out + done.err
    assert "epoch" not in done.out
    return done.err


def test_a_data_set_that_is_not_there(flags, tmp_path):
    line = refused(*flags, f"--workdir={tmp_path / 'run'}", f"--dataset={tmp_path / 'nowhere'}")
    assert "no such folder" in line and "nowhere" in line


def test_one_class_only(flags, draw_images, tmp_path):
    folder = draw_images(tmp_path / "data", {"train/ants": 4, "validation/ants": 4})
    line = refused(*flags, f"--workdir={tmp_path / 'run'}", f"--dataset={folder}")
    assert "two or more class folders" in line and "'ants'" in line


def test_the_folder_of_the_data_set_as_it_stands(flags, two_classes, tmp_path, monkeypatch):
    folder = shutil.copytree(two_classes, tmp_path / "data")
    before = sorted(folder.rglob("*"))
    for dataset in (".", "..", "ants/../.."):
        monkeypatch.chdir(folder / "train" if dataset == ".." else folder)
        line = refused(*flags, f"--dataset={dataset}", cwd=Path.cwd())
        assert "inside of the data set" in line and "give a --workdir outside" in line
    assert sorted(folder.rglob("*")) == before


def test_folders_that_look_like_parts_and_have_other_names(flags, draw_images, tmp_path):
    counts = {f"{part}/{name}": 4 for part in ("one", "two") for name in ("ants", "bees")}
    folder = draw_images(tmp_path / "data", counts)
    line = refused(*flags, f"--workdir={tmp_path / 'run'}", f"--dataset={folder}")
    assert "one/ and two/, each of which holds 'ants', 'bees'" in line


def test_a_class_folder_that_is_a_broken_link(flags, draw_images, tmp_path):
    folder = draw_images(tmp_path / "data", {"ants": 4, "bees": 4})
    (folder / "owls").symlink_to("/nowhere")
    line = refused(*flags, f"--workdir={tmp_path / 'run'}", f"--dataset={folder}")
    assert "owls' is a link that cannot be followed to '/nowhere'" in line


def test_an_empty_class(flags, draw_images, tmp_path):
    folder = draw_images(tmp_path / "data", {"ants": 8, "bees": 0})
    line = refused(*flags, f"--workdir={tmp_path / 'run'}", f"--dataset={folder}")
    assert "bees" in line and "holds no images" in line


def test_a_text_file_named_as_an_image(flags, two_classes, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(two_classes, folder)
    (folder / "train" / "bees" / "notes.jpg").write_text("not an image")
    line = refused(*flags, f"--workdir={tmp_path / 'run'}", f"--dataset={folder}")
    assert "train/bees/notes.jpg" in line and "--bad_images=skip" in line


def test_a_negative_rate(flags, tmp_path):
    line = refused(*flags, f"--workdir={tmp_path / 'run'}", "--head_learning_rate=-1", code=2)
    assert "head_learning_rate" in line and "positive" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("operations", "said"),
    [
        ("flip|rotat", "did you mean rotate"),
        ("mixup(-1)", "alpha=-1"),
        ("flip||", "cannot be read"),
    ],
)
def test_an_augmentation_that_makes_no_sense(flags, tmp_path, operations, said):
    line = refused(*flags, f"--workdir={tmp_path / 'run'}", f"--augment={operations}")
    assert f"--augment={operations}: " in line and said in line


def test_an_unknown_flag(flags, tmp_path):
    assert "learning_rat" in refused(*flags, "--learning_rat=1", code=2)


def test_a_read_only_folder(flags, tmp_path):
    if os.geteuid() == 0:
        folder = "/sys/run"  # where the system refuses even its administrator
    else:
        folder = tmp_path / "run"
        folder.mkdir(mode=0o500)
    assert "cannot be written" in refused(*flags, f"--workdir={folder}")


def test_a_file_where_the_folder_should_be(flags, tmp_path):
    (tmp_path / "run").write_text("")
    assert "is a file" in refused(*flags, f"--workdir={tmp_path / 'run'}")


def test_a_folder_of_something_else(flags, tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    assert "thesis.tex is in it" in refused(*flags, f"--workdir={tmp_path}")


def test_a_folder_of_another_configuration(flags, both_phases):
    line = refused(*flags, "--batch_size=8", f"--workdir={both_phases.folder}")
    assert "holds another run, which differs in batch_size (4 there, 8 now)" in line


def test_an_evaluation_where_there_is_no_run(tmp_path):
    assert "holds no run" in refused("--phase=evaluate", f"--workdir={tmp_path}")


def test_an_evaluation_on_other_classes(both_phases, three_classes):
    line = refused(
        "--phase=evaluate", f"--workdir={both_phases.folder}", f"--test_dir={three_classes}"
    )
    assert "cicad" in line and "must have the same classes" in line


# TensorFlow has to be started before these are seen.
NETWORK = {
    "a weight file of another width": (["--alpha=0.5"], "give the --alpha that the file was made"),
    "a weight file that is not there": (["--weights=/nowhere.h5"], "no such file"),
    "a layer beyond the last": (["--fine_tune_at=999"], "layers 0 to 153"),
    "an unknown optimizer": (["--finetune_optimizer=adan"], "did you mean adam"),
}


@pytest.mark.parametrize(("wrong", "said"), NETWORK.values(), ids=NETWORK)
def test_a_network_that_cannot_be_had(flags, tmp_path, wrong, said):
    assert said in refused(*flags, *wrong, f"--workdir={tmp_path / 'run'}")
    assert not (tmp_path / "run" / "checkpoints").exists()
