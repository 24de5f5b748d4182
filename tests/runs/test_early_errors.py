"""Wrong flags are refused before the long work: reading images, starting TensorFlow."""

import shutil

import pytest

from tests.runs.conftest import train


@pytest.fixture(scope="module")
def damaged(two_classes, tmp_path_factory):
    """A data set with an image that cannot be read, which is found once images are read."""
    folder = tmp_path_factory.mktemp("damaged") / "insects"
    shutil.copytree(two_classes, folder)
    (folder / "train" / "bees" / "0.png").write_text("not an image")
    return folder


@pytest.fixture
def failure(flags, damaged, tmp_path, monkeypatch):
    """A function that starts a new run which fails: what was said, and the places it reached."""

    def start(*wrong):
        trace = tmp_path / "trace"
        monkeypatch.setenv("THAW_TRACE", str(trace))
        done = train(
            *flags, f"--dataset={damaged}", f"--workdir={tmp_path / 'run'}", *wrong, code=1
        )
        assert done.err.count("\n") == 1, done.err
        return done.err, trace.read_text().split()

    return start


def test_an_image_that_cannot_be_read_is_reported_where_nothing_else_is_wrong(failure):
    line, places = failure()
    assert "train/bees/0.png" in line and "tensorflow" in places


NEED_NO_TENSORFLOW = {
    "a weight file that is not there": (["--weights=/nowhere.h5"], "no such file"),
    "weights that were never trained": (["--weights=imagenet", "--alpha=0.4"], "weights exist for"),
    "weights that cannot be downloaded": (["--weights=imagenet"], "could not be downloaded"),
    "a backbone that there is not": (["--backbone=resnt50"], "did you mean resnet50"),
    "a backbone that is not there": (["--backbone=/nowhere.keras"], "no such file"),
    "a data set that is not there": (["--dataset=/nowhere"], "no such folder"),
}


@pytest.mark.parametrize(("wrong", "said"), NEED_NO_TENSORFLOW.values(), ids=NEED_NO_TENSORFLOW)
def test_before_tensorflow_is_started(failure, wrong, said, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # where nobody answers
    line, places = failure(*wrong)
    assert said in line and "tensorflow" not in places


NEED_TENSORFLOW = {
    "an unknown optimizer of the head": (["--head_optimizer=adan"], "did you mean adam"),
    "an unknown optimizer": (["--finetune_optimizer=adan"], "did you mean adam"),
    "images too small": (
        ["--backbone=xception", "--alpha=1", "--weights=none"],
        "must be at least 71x71",
    ),
    "a layer beyond the last": (["--fine_tune_at=999"], "layers 0 to 153"),
    "an unknown layer": (["--fine_tune_at=block_17"], "no layer or block of that name"),
    "weights of another width": (["--alpha=0.5"], "give the --alpha that the file was made with"),
    "a head of no run": (["--from_run=/nowhere"], "holds no run"),
}


@pytest.mark.parametrize(("wrong", "said"), NEED_TENSORFLOW.values(), ids=NEED_TENSORFLOW)
def test_before_images_are_read(failure, wrong, said):
    assert said in failure(*wrong)[0]


def test_a_head_that_does_not_fit_is_reported_before_images_are_read(failure, both_phases):
    assert (
        "has image_size 32, and this run 64"
        in failure(f"--from_run={both_phases.folder}", "--image_size=64")[0]
    )


def test_another_run_that_is_none_is_reported_before_the_images_of_an_evaluation(
    both_phases, damaged
):
    done = train(
        *("--phase=evaluate", f"--workdir={both_phases.folder}", "--against=/nowhere"),
        *(f"--test_dir={damaged / 'train'}",),
        code=1,
    )
    assert "--against=/nowhere holds no run" in done.err
