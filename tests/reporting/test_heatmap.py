import numpy as np

from lib.reporting.heatmap import overlay

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def test_without_heat_the_image_is_grey():
    shown = overlay(IMAGE, np.zeros((5, 5)))
    assert shown.shape == IMAGE.shape
    assert shown.dtype == np.uint8
    assert (shown == shown[..., :1]).all()
    np.testing.assert_allclose(shown[..., 0], IMAGE.mean(axis=2), atol=0.5)


def test_heat_colours_its_own_place_alone():
    heat = np.zeros((5, 5))
    heat[0, 4] = 1  # above, on the right
    colourful = np.ptp(overlay(IMAGE, heat).astype(int), axis=2)
    assert colourful[:6, -6:].min() > 50
    assert colourful[20:, :40].max() == 0


def test_the_hottest_place_is_no_brighter_than_an_image_can_be():
    heat = np.full((3, 3), 0.2)
    heat[1, 1] = 1
    assert overlay(np.full((30, 30, 3), 255, np.uint8), heat).dtype == np.uint8
    assert overlay(np.full((30, 30, 3), 255, np.uint8), heat).min() > 0
