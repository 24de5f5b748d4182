import math
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from lib.reporting.svg import Series, line_chart


def drawn(*arguments, **options):
    return ElementTree.fromstring(line_chart(*arguments, **options))


def test_a_line_goes_through_its_points_from_lower_left_to_upper_right():
    chart = drawn("Loss", "epoch", [Series("train", "first", (0, 1, 2), (0, 5, 10))], (0, 2))
    points = [tuple(map(float, p.split(","))) for p in chart.find("polyline").get("points").split()]
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert [y for _, y in points] == sorted((y for _, y in points), reverse=True)
    assert len(chart.findall("circle")) == 3
    assert chart.find("circle/title").text == "train, epoch 0: 0.0000"


def test_what_is_not_finite_is_left_out():
    series = [Series("train", "first", (0, 1, 2), (math.nan, 0.5, math.inf))]
    assert len(drawn("Loss", "epoch", series, (0, 2)).findall("circle")) == 1


def test_a_chart_without_any_point_is_still_a_chart():
    assert drawn("Loss", "epoch", [Series("train", "first", (0,), (math.nan,))], (0, 1)) is not None


def test_names_of_any_kind_are_escaped():
    name = "<script>alert('\"&')</script>"
    chart = drawn(name, name, [Series(name, "first", (0, 1), (0, 1))], (0, 1), marks=[(1, name)])
    assert not chart.findall(".//script")
    assert chart.findtext("text") == name and name in chart.find("circle/title").text


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9),
    st.integers(1, 200),
)
def test_every_point_is_inside_the_image(values, last):
    x = [last * n / len(values) for n in range(len(values))]
    chart = drawn("Loss", "epoch", [Series("train", "first", x, values)], (0, last))
    *_, width, height = map(float, chart.get("viewBox").split())
    for circle in chart.findall("circle"):
        assert 0 <= float(circle.get("cx")) <= width and 0 <= float(circle.get("cy")) <= height
