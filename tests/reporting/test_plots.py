import itertools
import math
import warnings

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from lib.reporting import plots
from lib.runs.history import Epoch
from tests.reporting.unlike import HISTORY


@pytest.fixture(autouse=True)
def no_warning():
    # Matplotlib warns of letters it cannot draw and of layouts that do not fit.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def noise_images(n):
    return np.random.default_rng(0).integers(0, 256, (n, 16, 24, 3), np.uint8)


def history(*phases):
    rows = [Epoch(0, "start", 0, math.nan, math.nan, math.nan, 0.9, 0.4, math.nan, 8.0)]
    for epoch, phase in enumerate(phases, start=1):
        worth = 0.1 * epoch
        rows.append(
            Epoch(epoch, phase, 63 * epoch, 1e-4, 0.8 - worth, 0.5 + worth, 0.7, 0.6, 100.0, 20.0)
        )
    return rows


def texts(figure):
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def all_figures():
    yield plots.training_samples(noise_images(3), ["cats", "dogs", "cats"])
    yield plots.augmentation(
        noise_images(3), np.float32([[0], [1], [0.3]]), ["cats", "dogs"], "flip"
    )
    yield plots.curves(history("head", "finetune"))
    yield plots.prediction_grid(noise_images(2), ["cats", "dogs"], ["cats", "cats"], [0.9, 0.6])
    yield plots.confusion(np.array([[9, 1], [0, 10]]), ["cats", "dogs"])


def test_every_figure_is_as_wide_as_a_readme():
    for figure in all_figures():
        shown = plots.pixels(figure)
        assert shown.dtype == np.uint8 and shown.shape[1:] == (800, 3)
        assert 300 < len(shown) < 1000


def test_the_same_input_gives_the_same_file(tmp_path):
    for index, figure in enumerate(itertools.chain(all_figures(), all_figures())):
        plots.save(figure, tmp_path / f"{index}.png")
    for first in range(5):
        again = tmp_path / f"{first + 5}.png"
        assert (tmp_path / f"{first}.png").read_bytes() == again.read_bytes()


def test_a_saved_figure_is_a_png_of_twice_the_width_and_the_only_file(tmp_path):
    plots.save(plots.curves(history("head")), tmp_path / "plots" / "curves.png")
    with Image.open(tmp_path / "plots" / "curves.png") as saved:
        assert saved.format == "PNG" and saved.width == 1600
        assert "Software" not in saved.info  # It would change with matplotlib's version.
    assert len(list((tmp_path / "plots").iterdir())) == 1


def test_a_figure_that_cannot_be_saved_says_so(tmp_path):
    (tmp_path / "plots").touch()
    with pytest.raises(OSError):
        plots.save(plots.curves(history("head")), tmp_path / "plots" / "curves.png")


@pytest.mark.parametrize("n", [1, 2, 9, 10, 32])
def test_every_training_image_has_its_class_above_it(n):
    names = [f"class {index}" for index in range(n)]
    figure = plots.training_samples(noise_images(n), names)
    assert [axes.get_title() for axes in figure.axes] == names
    for axes, image in zip(figure.axes, noise_images(n), strict=True):
        assert np.array_equal(axes.images[0].get_array(), image)
    plots.pixels(figure)


def test_augmented_images_have_their_targets_above_them():
    targets = np.float32([[0.0], [1.0], [0.3], [0.456]])
    figure = plots.augmentation(noise_images(4), targets, ["cats", "dogs"], "flip|mixup(0.2)")
    assert "flip|mixup(0.2)" in figure.get_suptitle()
    assert [axes.get_title() for axes in figure.axes] == [
        *("cats", "dogs", "cats 0.7, dogs 0.3", "cats 0.54, dogs 0.46"),
    ]
    for axes, image in zip(figure.axes, noise_images(4), strict=True):
        assert np.array_equal(axes.images[0].get_array(), image)


def test_of_a_target_of_many_classes_the_two_largest_are_named():
    targets = np.float32([[0.1, 0.3, 0.6], [0.0, 0.0, 1.0], [0.0, 0.25, 0.75]])
    long = "a name that is much longer than the room above an image is wide"
    figure = plots.augmentation(noise_images(3), targets, ["ants", "bees", long], "")
    assert "no augmentation" in figure.get_suptitle()
    first, second, third = (axes.get_title() for axes in figure.axes)
    assert first.endswith("… 0.6, bees 0.3, …") and third.endswith("… 0.75, bees 0.25")
    assert second.startswith("a name") and second.endswith("…")
    assert max(map(len, (first, second, third))) <= 50


def test_the_curves_show_both_splits_over_both_phases_and_validation_before_training():
    rows = history("head", "head", "finetune")
    accuracy, loss = plots.curves(rows).axes
    for axes, quantity in ((accuracy, "accuracy"), (loss, "loss")):
        training, validation, _ = axes.lines
        for line, split in ((training, "train"), (validation, "validation")):
            assert list(line.get_xdata()) == [0, 1, 2, 3]
            expected = [getattr(row, f"{split}_{quantity}") for row in rows]
            np.testing.assert_array_equal(line.get_ydata(), expected)
        assert axes.get_xlabel() == "epoch" and axes.get_ylabel() == quantity
        assert training.get_linestyle() != validation.get_linestyle()


def test_the_legend_gives_the_last_epoch_which_is_not_the_best():
    accuracy, loss = plots.curves(HISTORY).axes
    legends = [[text.get_text() for text in axes.get_legend().texts] for axes in (accuracy, loss)]
    assert legends == [
        ["training (last: 0.850)", "validation (last: 0.600)"],
        ["training (last: 0.500)", "validation (last: 0.720)"],
    ]


def test_a_grid_of_the_first_images_says_of_how_many():
    figure = plots.classified(noise_images(2), ["cats", "dogs"], [0.91, 0.62], 7)
    assert figure.get_suptitle() == "Predictions: the first 2 of 7 images"
    assert [axes.get_title() for axes in figure.axes] == ["cats 91 %", "dogs 62 %"]
    all_of_them = plots.classified(noise_images(2), ["cats", "dogs"], [0.91, 0.62], 2)
    assert all_of_them.get_suptitle() == "Predictions"


@pytest.mark.parametrize(
    ("phases", "starts"),
    [
        (["head"] * 3 + ["finetune"] * 2, {"finetune": 3}),
        (["finetune"], {}),
        (["head", "finetune"], {"finetune": 1}),
        (["head", "top", "top", "all"], {"top": 1, "all": 3}),
    ],
)
def test_the_start_of_each_phase_but_the_first_is_marked(phases, starts):
    figure = plots.curves(history(*phases))
    for axes in figure.axes:
        marks = [set(line.get_xdata()) for line in axes.lines[2:]]
        assert marks == [{epoch} for epoch in starts.values()]
    for name in starts:
        assert texts(figure).count(name) == 2
    plots.pixels(figure)


@pytest.mark.parametrize("rows", [[], history(), history("head")])
def test_in_the_first_phase_there_is_no_mark_and_short_histories_are_drawn(rows):
    figure = plots.curves(rows)
    assert all(len(axes.lines) == 2 for axes in figure.axes)
    assert "head" not in texts(figure)
    plots.pixels(figure)


def test_a_wrong_prediction_differs_in_sign_and_frame_and_not_in_colour_alone():
    figure = plots.prediction_grid(noise_images(2), ["cats", "dogs"], ["cats", "cats"], [0.91, 0.6])
    right, wrong = figure.axes
    assert right.get_title() == "✓ cats 91 %\ntrue: cats"
    assert wrong.get_title() == "✗ cats 60 %\ntrue: dogs"
    assert right.title.get_color() != wrong.title.get_color()
    assert not any(spine.get_visible() for spine in right.spines.values())
    assert all(spine.get_visible() for spine in wrong.spines.values())
    assert "Predictions: 1 of 2 correct" in texts(figure)


def test_a_probability_is_never_rounded_to_certainty():
    (axes,) = plots.prediction_grid(noise_images(1), ["cats"], ["cats"], [0.9999]).axes
    assert ">99 %" in axes.get_title()


def test_a_confusion_matrix_shows_counts_and_shares_of_the_true_class():
    figure = plots.confusion(np.array([[97, 3], [1, 49]]), ["cats", "dogs"])
    (axes,) = figure.axes
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {(0, 0): "97\n97 %", (1, 0): "3\n3 %", (0, 1): "1\n2 %", (1, 1): "49\n98 %"}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cats", "dogs"]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("true class", "predicted class")
    assert axes.get_title() == "Confusion matrix: 146 of 150 correct"


@pytest.mark.parametrize("k", [2, 5, 20])
def test_the_numbers_of_a_confusion_matrix_stay_within_their_cells(k):
    counts = np.full((k, k), 1) + np.diag([998] * k)
    figure = plots.confusion(counts, [f"a long name of class {index}" for index in range(k)])
    plots.pixels(figure)
    (axes,) = figure.axes
    cell = axes.get_window_extent().width / k
    for text in axes.texts:
        extent = text.get_window_extent()
        assert extent.width <= cell and extent.height <= cell
        assert text.get_fontsize() >= 7


def test_a_class_without_images_and_more_classes_than_can_be_numbered_are_drawn():
    plots.pixels(plots.confusion(np.array([[0, 0], [1, 2]]), ["cats", "dogs"]))
    many = plots.confusion(np.eye(120, dtype=int), [f"class {index}" for index in range(120)])
    plots.pixels(many)
    assert not many.axes[0].texts and 20 <= len(many.axes[0].get_yticklabels()) <= 40


AWKWARD = [
    "$5 and $6",
    "$\\frac{$",
    "two\nlines",
    "Пёс",
    "猫",
    "🐱",
    b"caf\xe9".decode("utf-8", "surrogateescape"),
    "a very long name " * 9,
    "",
]


@pytest.mark.parametrize("name", AWKWARD)
def test_any_class_name_is_drawn_on_one_line_of_the_width_there_is(name):
    wide = "w" * len(name)
    samples = plots.training_samples(noise_images(9), [name] * 9)
    plots.pixels(samples)
    for axes in samples.axes:
        assert axes.title.get_window_extent().width <= axes.get_window_extent().width * 1.05
        assert "\n" not in axes.get_title()
    figure = plots.prediction_grid(noise_images(9), [name] * 9, [wide] * 9, [0.5] * 9)
    plots.pixels(figure)
    assert all(axes.get_title().count("\n") == 1 for axes in figure.axes)
    plots.pixels(plots.confusion(np.eye(4, dtype=int), [name, "b", "c", "d"]))


def test_letters_no_font_can_draw_are_named_rather_than_boxed():
    (axes,) = plots.training_samples(noise_images(1), ["\ue000 cats"]).axes
    assert axes.get_title() == "\\ue000 cats"
