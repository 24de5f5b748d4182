"""The figures of a run, for its folder, for TensorBoard and for a paper.

Figures are made with matplotlib's objects alone, no pyplot, whose state is the program's around.
They are 800 pixels wide, the width of a README, and saved at twice that for sharp screens.
"""

import contextlib
import io
import math
import threading
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from lib.reporting.predictions import percent
from lib.runs.history import Epoch, phase_starts
from lib.system.atomic import replacing

WIDTH = 8.0  # inches
DPI = 100

# Okabe and Ito's palette, which readers with any common colour blindness can distinguish.
BLUE, VERMILLION, GREY = "#0072B2", "#D55E00", "#555555"

# Where DejaVu Sans, which comes with matplotlib, has no glyph, these are asked if they are there.
_OTHER_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans Arabic",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "WenQuanYi Zen Hei",
    "Arial Unicode MS",
    "Microsoft YaHei",
    "Malgun Gothic",
)
_NO_NUMBERS_ABOVE = 20  # classes: beyond, the numbers of a confusion matrix are too small to read.


_DRAWING = threading.RLock()


@contextlib.contextmanager
def as_shipped() -> Iterator[None]:
    """Draws as matplotlib comes, whatever a `matplotlibrc` or the program around it says.

    The settings of matplotlib are the whole process's, so one thread draws at a time.
    """
    with _DRAWING, matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


@as_shipped()
def training_samples(images: np.ndarray, names: Sequence[str]) -> Figure:
    """A grid of training images with their classes.

    Args:
        images: uint8 [n, height, width, 3], n >= 1.
        names: the class of each image, n of them.
    """
    figure, cells = _grid(images, extra_lines=1)
    figure.suptitle("Training images", fontsize=13)
    for axes, name in zip(cells, names, strict=True):
        axes.set_title(shown(name, letters(axes)), fontsize=10, family=families())
    return figure


@as_shipped()
def augmentation(
    images: np.ndarray, targets: np.ndarray, classes: Sequence[str], operations: str
) -> Figure:
    """A grid of augmented images with their targets, such as "cats 0.7, dogs 0.3".

    Args:
        images: uint8 [n, height, width, 3], n >= 1.
        targets: float32 [n, classes], or of two classes that of class 1 alone, [n, 1].
        classes: their names.
        operations: the augmentation, as in `--augment`.
    """
    figure, cells = _grid(images, extra_lines=1)
    how = shown(operations, 70) or "no augmentation"
    figure.suptitle(f"What the first step of training sees\n{how}", fontsize=13)
    if targets.shape[1] == 1:
        targets = np.concatenate([1.0 - targets, targets], axis=1)
    for axes, target in zip(cells, targets, strict=True):
        title = _target_words(target, classes, letters(axes))
        axes.set_title(title, fontsize=10, family=families())
    return figure


def _target_words(target: np.ndarray, classes: Sequence[str], room: int) -> str:
    """The classes of a target with their shares, the largest first; of a class alone its name."""
    order = [index for index in np.argsort(-target, kind="stable") if round(target[index], 2) > 0]
    if len(order) == 1:
        return shown(classes[order[0]], room)
    each = room // min(max(len(order), 1), 2) - 6
    words = [f"{shown(classes[index], each)} {round(float(target[index]), 2):g}" for index in order]
    return ", ".join(words[:2]) + (", …" if len(words) > 2 else "")


@as_shipped()
def curves(history: Sequence[Epoch]) -> Figure:
    """Accuracy and loss of training and validation against the epoch, over all phases.

    Epoch 0 is the evaluation before training, so it has a validation point only. A vertical line
    marks the state from which each phase but the first started.

    Args:
        history: the epochs in order, as in `history.csv`; may be empty.
    """
    figure = new_figure(3.7)
    epochs = [row.epoch for row in history]
    marks = phase_starts(history)[1:]
    for position, quantity in enumerate(("accuracy", "loss")):
        axes = figure.add_subplot(1, 2, position + 1)
        for split, colour, style, marker in (
            ("train", BLUE, "--", "o"),
            ("validation", VERMILLION, "-", "s"),
        ):
            values = [getattr(row, f"{split}_{quantity}") for row in history]
            label = {"train": "training"}.get(split, split)
            if values and math.isfinite(values[-1]):
                label += f" (last: {values[-1]:.3f})"
            axes.plot(epochs, values, style, color=colour, marker=marker, markersize=4, label=label)
        # Left and, where there are marks, high: so that their labels fit below.
        high = 20 if marks else 6
        axes.set_title(quantity.capitalize(), fontsize=13, loc="left", pad=high)
        for epoch, phase in marks:
            axes.axvline(epoch, color=GREY, linestyle=":", linewidth=1.5)
            above = {"transform": axes.get_xaxis_transform(), "ha": "left", "va": "bottom"}
            axes.text(epoch, 1.01, phase, color=GREY, fontsize=10, **above)
        axes.set_xlim(-0.5, max([1, *epochs]) + 0.5)
        against_epochs(axes, quantity)
        axes.legend(fontsize=10, loc="best", framealpha=0.9)
    return figure


def against_epochs(axes: Axes, quantity: str) -> None:
    """Labels the axes of curves of a quantity over epochs, which are whole numbers."""
    axes.set_xlabel("epoch", fontsize=11)
    axes.set_ylabel(quantity, fontsize=11)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


@as_shipped()
def rate_test(rates: np.ndarray, losses: np.ndarray, suggestion: float) -> Figure:
    """The loss against a rising learning rate, the suggested one marked.

    Args:
        rates: float [n], rising.
        losses: float [n].
        suggestion: a rate.
    """
    figure = new_figure(3.7)
    axes = figure.add_subplot()
    axes.semilogx(rates, losses, color=BLUE)
    axes.axvline(suggestion, color=VERMILLION, linestyle=":", label=f"suggested: {suggestion:g}")
    axes.set_xlabel("learning rate", fontsize=11)
    axes.set_ylabel("smoothed training loss", fontsize=11)
    # What comes after it has diverged would hide all else.
    axes.set_ylim(*_span(losses))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=10)
    return figure


def _span(losses: np.ndarray) -> tuple[float, float]:
    low, first = float(np.min(losses)), float(losses[0])
    room = 0.1 * (first - low) or 0.1
    return low - room, first + 5 * room


@as_shipped()
def prediction_grid(
    images: np.ndarray,
    true_names: Sequence[str],
    predicted_names: Sequence[str],
    probabilities: Sequence[float],
) -> Figure:
    """A grid of images with the predicted class and its probability, and the true class below.

    A wrong prediction has a cross and a thick frame besides another colour.

    Args:
        images: uint8 [n, height, width, 3], n >= 1.
        true_names: the class of each image.
        predicted_names: the class predicted for each.
        probabilities: of the predicted class, in [0, 1].
    """
    figure, cells = _grid(images, extra_lines=2)
    right = sum(a == b for a, b in zip(true_names, predicted_names, strict=True))
    figure.suptitle(f"Predictions: {right} of {len(images)} correct", fontsize=13)
    for axes, true, predicted, probability in zip(
        cells, true_names, predicted_names, probabilities, strict=True
    ):
        sign, colour = ("✓", BLUE) if true == predicted else ("✗", VERMILLION)
        how_sure = percent(probability)
        name = shown(predicted, letters(axes) - len(how_sure) - 3)
        truth = shown(true, letters(axes) - 6)
        axes.set_title(
            f"{sign} {name} {how_sure}\ntrue: {truth}",
            fontsize=10,
            color=colour,
            family=families(),
        )
        for spine in axes.spines.values():
            spine.set(visible=true != predicted, color=colour, linewidth=4)
    return figure


@as_shipped()
def classified(
    images: np.ndarray, names: Sequence[str], probabilities: Sequence[float], total: int
) -> Figure:
    """A grid of images with the predicted class of each and its probability.

    Args:
        images: uint8 [n, height, width, 3], n >= 1.
        names: the predicted class of each image.
        probabilities: of that class, in [0, 1].
        total: how many images there were, of which these are the first.
    """
    figure, cells = _grid(images, extra_lines=1)
    some = f"the first {len(images)} of {total} images" if total > len(images) else ""
    figure.suptitle(f"Predictions{some and ': '}{some}", fontsize=13)
    for axes, name, probability in zip(cells, names, probabilities, strict=True):
        how_sure = percent(probability)
        name = shown(name, letters(axes) - len(how_sure) - 1)
        axes.set_title(f"{name} {how_sure}", fontsize=10, family=families())
    return figure


@as_shipped()
def confusion(counts: np.ndarray, classes: Sequence[str]) -> Figure:
    """The confusion matrix: a row per true class, a column per predicted one.

    A cell shows the count and its share of the row; it is the darker the larger the share. Above 20
    classes the colour stands alone.

    Args:
        counts: int [k, k], how many images of class `row` were taken for class `column`.
        classes: the k class names.
    """
    counts = np.asarray(counts)
    k = len(classes)
    # A class without a single image has a row of zeros rather than of 0/0.
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    numbers = k <= _NO_NUMBERS_ABOVE
    figure = new_figure(4.8 if k <= 3 else 7.0)
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if numbers:
        for (row, column), count in np.ndenumerate(counts):
            if count or k <= 3:  # In a large matrix the zeros would hide the errors.
                axes.text(
                    column,
                    row,
                    f"{count}\n{shares[row, column] * 100:.0f} %",
                    ha="center",
                    va="center",
                    fontsize=min(13, 5 + 50 / k),
                    color="white" if shares[row, column] > 0.5 else "black",
                )
        edges = np.arange(k + 1) - 0.5
        axes.set_xticks(edges, minor=True)
        axes.set_yticks(edges, minor=True)
        axes.grid(which="minor", color="#CCCCCC", linewidth=0.8)
        axes.tick_params(which="minor", length=0)
    else:
        figure.colorbar(image, ax=axes, shrink=0.8).set_label("share of the true class")
    named = range(0, k, math.ceil(k / 40))
    labels = [shown(classes[index], 18) for index in named]
    style = {"fontsize": 11 if k <= 10 else 8, "family": families()}
    slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    turn = {} if k <= 3 else slanted if numbers else {"rotation": 90}
    axes.set_xticks(named, labels, **style, **turn)
    axes.set_yticks(named, labels, **style)
    axes.set_xlabel("predicted class", fontsize=11)
    axes.set_ylabel("true class", fontsize=11)
    correct, total = int(np.trace(counts)), int(counts.sum())
    axes.set_title(f"Confusion matrix: {correct} of {total} correct", fontsize=13)
    return figure


@as_shipped()
def rendered(figure: Figure) -> Image.Image:
    """Draws the figure at twice its size, 1600 pixels wide, for sharp screens."""
    figure.set_dpi(2 * DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])


def halved(image: Image.Image) -> np.ndarray:
    """A rendered figure at its own size, uint8 [height, 800, 3], without drawing it again."""
    return np.asarray(image.reduce(2))


def png(image: Image.Image) -> bytes:
    """An image as a PNG file, lightly compressed: the same image gives the same bytes."""
    encoded = io.BytesIO()
    image.save(encoded, "PNG", compress_level=1)
    return encoded.getvalue()


def write(image: Image.Image, path: Path) -> None:
    """Writes a rendered figure as PNG.

    Raises:
        OSError: the file cannot be written; an older one is then still there.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(png(image))


def save(figure: Figure, path: Path) -> None:
    """Draws the figure and writes it, see `write`."""
    write(rendered(figure), path)


def pixels(figure: Figure) -> np.ndarray:
    """Draws the figure, see `halved`."""
    return halved(rendered(figure))


def new_figure(height: float) -> Figure:
    """An empty figure, 800 pixels wide and `height` inches high."""
    return Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")


def _grid(images: np.ndarray, extra_lines: int) -> tuple[Figure, list[Axes]]:
    """Draws the images as near to a square of cells as they go, with room for titles."""
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    figure = new_figure(0.5 + rows * (WIDTH / columns + 0.2 * extra_lines))
    cells = [figure.add_subplot(rows, columns, 1 + index) for index in range(len(images))]
    for axes, image in zip(cells, images, strict=True):
        draw_image(axes, image)
    return figure, cells


def draw_image(axes: Axes, image: np.ndarray) -> None:
    """Draws an image, uint8 [height, width, 3], without ticks and frame."""
    axes.imshow(image, interpolation="bicubic")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def letters(axes: Axes) -> int:
    """How many letters of 10 points fit above the axes: 8 pixels each at 100 dots per inch."""
    return int(WIDTH * DPI / axes.get_gridspec().ncols / 8)


def shown(name: str, letters: int) -> str:
    """A class name as text for matplotlib: one line, shortened, with every letter drawable."""
    name = " ".join(name.split())
    name = "".join(
        letter if _drawable(letter) else letter.encode("ascii", "backslashreplace").decode()
        for letter in name
    )
    if len(name) > letters:
        name = name[: max(letters - 1, 1)] + "…"
    return name.replace("$", r"\$")  # A pair of dollars would be taken for mathematics.


@cache
def families() -> tuple[str, ...]:
    """Fonts to be asked for a letter, in this order."""
    installed = set(font_manager.get_font_names())
    return ("DejaVu Sans", *(name for name in _OTHER_FONTS if name in installed))


@cache
def _drawable(letter: str) -> bool:
    return any(
        font_manager.get_font(font_manager.findfont(family)).get_char_index(ord(letter))
        for family in families()
    )
