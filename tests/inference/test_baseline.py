import contextlib

import numpy as np
import pytest

from lib.config import Config, resolved
from lib.data.dataset import open_dataset
from lib.errors import UserError
from lib.inference.baseline import open_baseline
from lib.runs import folder as run_folder


@contextlib.contextmanager
def silent(*_):
    yield lambda _: None


@pytest.fixture
def begin(tmp_path):
    """A function that makes the folder of a run which has just begun."""

    def run(name, dataset, **flags):
        folder = tmp_path / name
        config = resolved(Config(workdir=str(folder), dataset=str(dataset), **flags))
        opened = open_dataset(config, silent)
        folder.mkdir()
        facts = {"classes": list(opened.classes), "data_sha256": opened.sha256}
        run_folder.save(folder, config, facts)
        return folder, run_folder.saved(folder), opened.test

    return run


def test_a_baseline_of_the_same_splits_has_seen_none_of_the_test_set(begin, two_classes):
    _, run, test = begin("run", two_classes, image_size=32)
    folder, _, _ = begin("baseline", two_classes, image_size=32, alpha=0.5)
    baseline = open_baseline(folder, run, test, own=True, progress=silent)
    assert baseline.seen == 0 and baseline.subset is test and baseline.config.alpha == 0.5


def test_a_baseline_of_another_seed_has_seen_a_part_of_it(begin, two_classes):
    _, run, test = begin("run", two_classes, image_size=32)
    folder, _, other = begin("baseline", two_classes, image_size=32, seed=1)
    shared = len(set(test.names) & set(other.names))
    assert shared < len(test)
    baseline = open_baseline(folder, run, test, own=True, progress=silent)
    assert baseline.seen == len(test) - shared


def test_a_baseline_gets_the_images_at_its_own_size_in_the_same_order(begin, two_classes):
    _, run, test = begin("run", two_classes, image_size=32)
    folder, _, _ = begin("baseline", two_classes, image_size=48)
    subset = open_baseline(folder, run, test, own=True, progress=silent).subset
    assert subset.names == test.names
    np.testing.assert_array_equal(subset.labels, test.labels)
    assert subset.pixels(np.arange(2)).shape == (2, 48, 48, 3)


def test_a_folder_without_a_run_is_refused(begin, two_classes, tmp_path):
    _, run, test = begin("run", two_classes, image_size=32)
    with pytest.raises(UserError, match="holds no run"):
        open_baseline(tmp_path / "nowhere", run, test, own=True, progress=silent)


def test_a_baseline_of_other_classes_is_refused(begin, two_classes, three_classes):
    _, run, test = begin("run", two_classes, image_size=32)
    folder, _, _ = begin("baseline", three_classes, image_size=32)
    with pytest.raises(UserError, match="same classes"):
        open_baseline(folder, run, test, own=True, progress=silent)
