from itertools import product

import numpy as np
import pytest

from lib.errors import UserError
from lib.inference.outcome import Extras, _averages, evaluate_trained
from lib.inference.trained import averaged, make_classifier, make_ensemble
from lib.inference.views import MOST_VIEWS, view, view_count, viewed
from tests.inference.test_outcome import CLASSES, Stop, subset, trained

ENDS = (slice(24), slice(8, 32))
IMAGES = np.random.default_rng(3).integers(0, 256, (5, 32, 32, 3), np.uint8)


def test_the_first_view_is_the_image_and_the_second_its_mirror_image():
    assert np.array_equal(view(IMAGES, 0), IMAGES)
    assert np.array_equal(view(IMAGES, 1), IMAGES[:, :, ::-1])


def test_each_odd_view_is_the_mirror_image_of_the_one_before():
    for number in range(0, MOST_VIEWS, 2):
        assert np.array_equal(view(IMAGES, number + 1), view(IMAGES, number)[:, :, ::-1])


def test_later_views_are_the_centre_and_the_corners_enlarged():
    ramp = np.zeros((1, 32, 32, 3), np.uint8)
    ramp[0, :, :, 0] = 8 * np.arange(32)[:, np.newaxis]  # rows in red, columns in green
    ramp[0, :, :, 1] = 8 * np.arange(32)
    # Of 32 pixels a part has 28: its middle is 2 off the image's, towards its corner.
    middles = [view(ramp, number)[0].mean(axis=(0, 1))[:2] / 8 for number in range(2, 12, 2)]
    expected = [(15.5, 15.5), (13.5, 13.5), (13.5, 17.5), (17.5, 13.5), (17.5, 17.5)]
    np.testing.assert_allclose(middles, expected, atol=0.02)
    assert all(view(ramp, number).shape == ramp.shape for number in range(MOST_VIEWS))


def test_where_the_middle_is_seen_the_parts_are_pixel_by_pixel_and_one_is_all_of_the_image():
    whole = view(IMAGES, 2, seen=24)
    assert whole.shape == (5, 24, 24, 3)
    np.testing.assert_allclose(whole.mean(axis=(1, 2)), IMAGES.mean(axis=(1, 2)), atol=4)
    corners = [view(IMAGES, number, seen=24) for number in range(4, MOST_VIEWS, 2)]
    for corner, (rows, columns) in zip(corners, product(ENDS, ENDS), strict=True):
        assert np.array_equal(corner, IMAGES[:, rows, columns])
    assert np.array_equal(view(IMAGES, 1, seen=24), IMAGES[:, :, ::-1])


def test_an_image_has_the_same_views_in_any_company():
    for number in range(MOST_VIEWS):
        assert np.array_equal(view(IMAGES[2:3], number)[0], view(IMAGES, number)[2])


@pytest.mark.parametrize(("text", "count"), [(None, 1), ("flip", 2), ("2", 2), ("12", 12)])
def test_a_number_of_views_or_flip_is_read(text, count):
    assert view_count(text) == count


@pytest.mark.parametrize("text", ["", "0", "1", "13", "-2", "2.5", "mirror", "²"])
def test_other_numbers_of_views_are_refused(text):
    with pytest.raises(UserError, match=r"^--tta=.*: expected flip .* from 2 to 12$"):
        view_count(text)


def test_a_mean_is_taken_class_by_class():
    one = np.float32([[0.9, 0.1], [0.3, 0.7], [0.5, 0.5]])
    two = np.float32([[0.2, 0.8], [0.5, 0.5], [0.5, 0.5]])
    predicted, mean = averaged([one, two])
    np.testing.assert_allclose(mean, [[0.55, 0.45], [0.4, 0.6], [0.5, 0.5]])
    assert predicted.tolist() == [0, 1, 0]  # of a tie the first, as for one network


def test_a_classifier_of_views_gives_the_mean_of_what_one_says_of_each(network):
    run = trained(network, CLASSES, trained_from=100)
    single, of_views = make_classifier(run), make_classifier(run, views=4)
    images = IMAGES[:4]
    expected = averaged([single(np.rint(view(images, n)).astype(np.uint8))[1] for n in range(2)])
    found = make_classifier(run, views=2)(images)
    assert np.array_equal(found[0], expected[0]) and np.array_equal(found[1], expected[1])
    alone = [of_views(images[i : i + 1])[1][0] for i in range(4)]
    assert np.array_equal(of_views(images)[1], alone)  # in any company


def test_an_ensemble_gives_the_mean_of_its_runs(network, network_for_three):
    run = trained(network_for_three, ("ants", "bees", "cicadas"))
    one = make_classifier(run)(IMAGES[:4])[1]
    assert np.array_equal(make_ensemble([run])(IMAGES[:4])[1], one)
    again = make_ensemble([run, run, run])(IMAGES[:4])[1]
    np.testing.assert_allclose(again, one, rtol=1e-6)


def test_an_evaluation_of_views_is_the_mean_of_those_of_each(network):
    run, images = trained(network, CLASSES), subset(CLASSES)
    each = [evaluate_trained(run, viewed(images, n), Stop()) for n in range(3)]
    found = _averages(run, each[0], images, Extras(views=3), Stop())["tta"]
    predicted, mean = averaged([one.probabilities for one in each])
    assert np.array_equal(found.probabilities, mean)
    assert np.array_equal(found.predicted, predicted)
    true = mean[np.arange(7), images.labels]
    assert found.loss == pytest.approx(float(-np.log(true.astype(float)).mean()))
    assert not np.array_equal(each[0].probabilities, each[1].probabilities)
