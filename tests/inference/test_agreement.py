import contextlib
import io

import numpy as np
import pytest
from PIL import Image

from lib.config import Config
from lib.data.dataset import open_dataset
from lib.inference.agreement import agreements
from lib.inference.formats import WayIn


def silent(*_):
    return contextlib.nullcontext(lambda _: None)


@pytest.fixture(scope="module")
def subset(two_classes):
    """Sixteen images, whose level of red stands for what a network would say."""
    return open_dataset(Config(dataset=str(two_classes), image_size=16), silent).validation


def said(pixels):
    share = pixels[..., 0].mean(axis=(-2, -1)) / 255
    return np.stack([1 - share, share], axis=-1).astype(np.float32)


def classify(pixels):
    assert len(pixels) <= 5
    probabilities = said(pixels)
    return probabilities.argmax(axis=1), probabilities


def prepare(data):
    return np.asarray(Image.open(io.BytesIO(data)).resize((16, 16), Image.Resampling.BILINEAR))


def compared(subset, change):
    way = WayIn("pictures", prepare, lambda pixels: change(said(pixels)))
    (found,) = agreements([way], classify, subset, batch_size=5, progress=silent)
    return found


def test_a_faithful_copy_agrees_on_all(subset):
    found = compared(subset, lambda probabilities: probabilities)
    assert (found.takes, found.images, found.disagreeing) == ("pictures", 16, 0)
    assert found.largest_difference == 0
    assert found.accuracy == found.accuracy_of_run
    assert found.milliseconds > 0


def test_a_mirrored_copy_disagrees_on_all(subset):
    found = compared(subset, lambda probabilities: probabilities[::-1])
    assert found.disagreement == 1
    assert found.accuracy == pytest.approx(1 - found.accuracy_of_run)


def test_the_largest_difference_is_of_any_class(subset):
    found = compared(subset, lambda probabilities: probabilities + np.float32([0, 0.001]))
    assert found.largest_difference == pytest.approx(0.001, abs=1e-6)


def test_what_is_no_number_does_not_agree(subset):
    found = compared(subset, lambda probabilities: probabilities * np.nan)
    assert (found.disagreeing, found.accuracy, found.largest_difference) == (16, 0.0, 0.0)
