import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from lib.data.drawn.canvas import Canvas, mix, oval, smooth

RED, BLUE = (255, 0, 0), (0, 0, 255)
coordinates = st.floats(-1, 1).map(lambda value: round(value, 3))
outlines = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=8)


def painted(canvas):
    """Which pixels are no longer black, [height, width]."""
    return np.asarray(canvas.developed()).any(axis=2)


@given(outlines, st.booleans())
def test_a_smooth_curve_passes_through_its_points(points, closed):
    assert set(points) <= set(smooth(points, closed))


@given(outlines)
def test_nothing_is_drawn_outside_the_outline_it_is_drawn_inside_of(outline):
    canvas = Canvas(40, 30)
    with canvas.inside(outline):
        canvas.ellipse(0, 0, 2, 2, RED)
    # The reference is opaque like a mask: where Pillow blends, it leaves out horizontal edges.
    polygon = Image.new("L", (80, 60))
    pixels = [(round(40 * x + 40), round(40 * y + 30)) for x, y in outline]
    ImageDraw.Draw(polygon).polygon(pixels, fill=255)
    inside = np.asarray(polygon.resize((40, 30), Image.Resampling.BOX)) > 0
    assert (painted(canvas) == inside).all()


@given(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.floats(0.2, 2), st.booleans())
def test_a_frame_ends_with_its_block(x, y, scale, mirror):
    canvas, untouched = Canvas(40, 30), Canvas(40, 30)
    with canvas.at(x, y, scale, 0.3, mirror), canvas.at(y, x, scale):
        pass
    for each in (canvas, untouched):
        each.ellipse(0.2, 0.1, 0.3, 0.2, RED)
    assert (painted(canvas) == painted(untouched)).all()


def test_a_frame_moves_turns_and_scales():
    framed, direct = Canvas(60, 60), Canvas(60, 60)
    with framed.at(0.2, -0.1, 0.5, turn=0.7):
        framed.ellipse(0, 0, 0.8, 0.4, RED)
    direct.ellipse(0.2, -0.1, 0.4, 0.2, RED, turn=0.7)
    assert (painted(framed) == painted(direct)).all()


def test_a_mirrored_frame_swaps_left_and_right():
    canvas = Canvas(40, 40)
    with canvas.at(0, 0, mirror=True):
        canvas.ellipse(0.5, 0, 0.2, 0.2, RED)
    assert painted(canvas)[:, :20].any()
    assert not painted(canvas)[:, 20:].any()


def test_the_square_from_minus_one_to_one_covers_an_image_of_any_shape():
    for size in ((60, 30), (30, 60), (50, 50)):
        canvas = Canvas(*size)
        canvas.polygon([(-1, -1), (1, -1), (1, 1), (-1, 1)], RED)
        assert painted(canvas).all()


def test_a_colour_with_opacity_lets_through_what_is_below():
    canvas = Canvas(20, 20)
    canvas.ellipse(0, 0, 2, 2, RED)
    canvas.ellipse(0, 0, 2, 2, (*BLUE, 127))
    assert canvas.developed().getpixel((10, 10)) == pytest.approx((128, 0, 127), abs=1)


@pytest.mark.parametrize(("share", "colour"), [(0, RED), (1, BLUE), (0.2, (204, 0, 51))])
def test_mixed_colours_lie_between_the_two(share, colour):
    assert mix(RED, BLUE, share) == colour


def test_an_oval_is_as_large_as_its_half_axes():
    xs, ys = zip(*oval(1, 2, 3, 4), strict=True)
    assert (min(xs), max(xs), min(ys), max(ys)) == pytest.approx((-2, 4, -2, 6))
