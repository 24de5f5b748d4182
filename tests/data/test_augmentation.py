import hashlib
import inspect
import itertools
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data import augment, augmentation
from lib.data.augment import OPERATIONS, Examples
from lib.data.augmentation import Augmentation
from lib.data.examples import one_hot_targets
from lib.data.geometry import affine, composed, interpolated
from lib.errors import UserError
from lib.randomness import uniform

SIZE = 32
DEFAULT = "flip|rotate(0.2)"
WITHOUT_MIXING = (
    "flip|rotate(0.2)|crop|translate|zoom|color|grey(0.5)|erase|blur|randaugment(2, 0.5)"
)
ALL = f"{WITHOUT_MIXING}|mixup(0.4)|cutmix"
few = settings(max_examples=5, deadline=None)
STEPS = st.integers(0, 2**40)
SEEDS = st.integers(0, 2**32 - 1)


def noise_images(count, size=SIZE):
    return np.random.default_rng(8).integers(0, 256, (count, size, size, 3), np.uint8)


def targets(count):
    return np.float32(np.arange(count) % 2)[:, np.newaxis]


def augmented(text, images, seed=0, step=0, first=0):
    return Augmentation(text, seed)(images, targets(len(images)), step, first).images.numpy()


@pytest.fixture
def registered():
    """Registers operations for one test."""
    before = set(OPERATIONS)
    yield OPERATIONS.register
    for name in set(OPERATIONS) - before:
        del OPERATIONS._functions[name]


def as_the_first_edition_had_it(images, mirror, angle):
    """Flip and rotation about the centre in one bilinear look-up, reflected at the border."""
    size = images.shape[1]
    offsets = np.arange(size) - (size - 1) / 2
    across, down = offsets[np.newaxis, np.newaxis, :], offsets[np.newaxis, :, np.newaxis]
    cosine, sine = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    columns = mirror[:, None, None] * (cosine * across - sine * down) + (size - 1) / 2
    rows = sine * across + cosine * down + (size - 1) / 2
    columns, rows = (size - np.abs(size - np.abs(p + 0.5)) - 0.5 for p in (columns, rows))
    left, top = np.floor(columns), np.floor(rows)
    result = 0.0
    for x, y in itertools.product((0, 1), (0, 1)):
        share = np.abs(1 - x - (columns - left)) * np.abs(1 - y - (rows - top))
        column = np.clip(left + x, 0, size - 1).astype(int)
        row = np.clip(top + y, 0, size - 1).astype(int)
        chosen = images[np.arange(len(images))[:, None, None], row, column]
        result += share[..., np.newaxis] * chosen
    return result


def test_the_default_makes_of_its_draws_what_the_first_edition_made_of_them():
    images = noise_images(20)
    flips = uniform([20, 2], 3, "augment/flip/0/0", 7).numpy()[:, 0]
    turns = uniform([20, 1], 3, "augment/rotate/0/0", 7).numpy()[:, 0]
    mirror = np.where(flips < 0.5, -1.0, 1.0)
    angle = (2.0 * turns - 1.0) * 0.2 * 2.0 * np.pi
    expected = as_the_first_edition_had_it(images, mirror, angle)
    np.testing.assert_allclose(augmented(DEFAULT, images, 3, 7), expected, atol=0.05)


def test_the_default_flips_half_of_the_images_and_turns_evenly_up_to_a_fifth_either_way():
    """A bright spot off the centre says by how much, whether mirrored or not."""
    size, radius, count = 65, 20, 300
    images = np.zeros((count, size, size, 3), np.uint8)
    images[:, size // 2, size // 2 + radius] = 255  # to the right of the centre
    result = augmented("flip|rotate(0.2)", images, seed=3, step=5)[..., 0]
    y, x = np.divmod(result.reshape(count, -1).argmax(axis=1), size)
    turn = np.arctan2(y - size // 2, np.abs(x - size // 2)) / (2 * np.pi)
    right = x > size // 2
    assert 0.3 < right.mean() < 0.7
    shares, _ = np.histogram(turn, 4, (-0.21, 0.21))
    assert shares.sum() == count and shares.min() > count / 4 - 40  # five standard deviations


def test_an_empty_list_changes_nothing_but_the_type():
    images = noise_images(3)
    result = augmented("", images)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, images)


def test_a_slice_of_a_batch_is_augmented_as_within_the_whole():
    images = noise_images(5)
    whole = augmented(WITHOUT_MIXING, images, step=3)
    for start, end in ((0, 2), (2, 5), (4, 5)):
        part = augmented(WITHOUT_MIXING, images[start:end], step=3, first=start)
        np.testing.assert_array_equal(part, whole[start:end])


@few
@given(SEEDS, STEPS)
def test_what_happens_to_an_image_depends_on_seed_step_and_position(seed, step):
    batch = np.repeat(noise_images(1), 4, axis=0)
    one = augmented(DEFAULT, batch, seed, step)
    np.testing.assert_array_equal(augmented(DEFAULT, batch, seed, step), one)
    assert not np.array_equal(one[0], one[1])
    assert not np.array_equal(augmented(DEFAULT, batch, seed, step + 1), one)
    assert not np.array_equal(augmented(DEFAULT, batch, seed + 1, step), one)


everything = []  # built once, for all examples of the test below


@few
@given(SEEDS, STEPS)
def test_images_stay_images_and_targets_probabilities_whatever_is_done(seed, step):
    if not everything:
        everything.append(Augmentation(ALL, seed=0))
    wanted = np.float32([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0]])
    images, mixed = everything[0](noise_images(5), wanted, (step + seed) % 2**40)
    assert images.dtype == tf.float32 and images.shape == (5, SIZE, SIZE, 3)
    assert images.numpy().min() >= 0.0 and images.numpy().max() <= 255.001
    np.testing.assert_allclose(np.sum(mixed, axis=1), 1.0, atol=1e-5)
    assert np.min(mixed) >= 0.0


def test_bytes_and_floats_are_augmented_alike():
    images = noise_images(4)
    for text in (DEFAULT, "color", ""):
        np.testing.assert_array_equal(
            augmented(text, images), augmented(text, images.astype(np.float32))
        )


def test_what_comes_in_from_outside_is_the_reflected_image_however_far_out():
    images = np.full((6, SIZE, SIZE, 3), 200, np.uint8)
    result = augmented("zoom(0.9)|translate(1.0)|translate(1.0)|translate(1.0)", images)
    np.testing.assert_allclose(result, 200, atol=0.1)


@pytest.fixture
def spy(registered):
    """An operation that makes its draws the targets: what others do cannot change them."""

    def spy(examples, draw, wide=1):
        draw(wide)
        return examples._replace(targets=draw(1))

    registered(spy)

    def drawn(text, step=2):
        return Augmentation(text, seed=1)(noise_images(3), targets(3), step).targets.numpy()

    return drawn


def test_adding_removing_and_reordering_operations_leaves_the_draws_of_others(spy):
    alone = spy("spy")
    for text in ("flip|spy", "spy|flip", "color|rotate|spy|erase", "rotate|spy|color"):
        np.testing.assert_array_equal(spy(text), alone)


def test_an_operation_that_draws_more_changes_no_other_draw(spy, registered):
    def greedy(examples, draw, often=1, wide=1):
        for _ in range(often):
            draw(wide)
        return examples

    registered(greedy)
    np.testing.assert_array_equal(spy("greedy|spy"), spy("greedy(5, 9)|spy"))
    np.testing.assert_array_equal(spy("spy(wide=1)"), spy("spy(wide=7)"))


def test_the_same_operation_twice_draws_other_numbers_the_second_time(spy):
    second = spy("spy|spy")
    assert not np.array_equal(second, spy("spy"))
    np.testing.assert_array_equal(spy("spy|flip|spy"), second)
    np.testing.assert_array_equal(second, uniform([3, 1], 1, "augment/spy/1/1", 2))


def test_adjacent_geometric_operations_are_one_interpolation(monkeypatch):
    times = []

    def counted(*arguments):
        times.append(1)
        return interpolated(*arguments)

    monkeypatch.setattr(augmentation, "interpolated", counted)
    for text, expected in (
        ("flip|rotate|crop|translate|zoom|rotate|randaugment", 1),
        ("color|flip|rotate|grey", 1),
        ("flip|color|rotate", 2),
        ("color", 0),
    ):
        times.clear()
        augmented(text, noise_images(2))
        assert len(times) == expected, text


def images_and(geometries):
    images = tf.constant(noise_images(3), tf.float32)
    examples = Examples(images, tf.constant(targets(3)))
    return images, [affine(examples, **each).matrix for each in geometries]


def in_turn(images, matrices):
    for matrix in matrices:
        images = interpolated(images, matrix)
    return images.numpy()


def at_once(images, matrices):
    whole = matrices[0]
    for matrix in matrices[1:]:
        whole = composed(whole, matrix)
    return interpolated(images, whole).numpy()


QUARTER = {"xx": 0.0, "xy": -1.0, "yx": 1.0, "yy": 0.0}


@pytest.mark.parametrize(
    "geometries",
    [
        [{"xx": -1.0}, QUARTER],
        [QUARTER, {"xx": -1.0}],
        [QUARTER, {"yy": -1.0}, QUARTER, QUARTER, {"xx": -1.0}],
    ],
)
def test_flips_and_quarter_turns_at_once_are_those_in_turn(geometries):
    images, matrices = images_and(geometries)
    np.testing.assert_array_equal(at_once(images, matrices), in_turn(images, matrices))


def test_whole_shifts_at_once_are_those_in_turn_where_nothing_had_left_the_image():
    images, matrices = images_and([{"x": 5.0, "y": -3.0}, {"x": -2.0}, QUARTER, {"y": 4.0}])
    inside = np.s_[:, 10:-10, 10:-10]
    np.testing.assert_array_equal(
        at_once(images, matrices)[inside], in_turn(images, matrices)[inside]
    )


def test_any_geometries_at_once_are_those_in_turn_within_the_error_of_interpolation():
    row, column = np.mgrid[:SIZE, :SIZE] / SIZE
    one = np.stack([np.sin(3 * row), np.cos(3 * column), row * column], axis=-1) * 127 + 128
    images = tf.constant(np.float32([one] * 3))
    cosine, sine = np.cos(0.3), np.sin(0.3)
    turn = {"xx": cosine, "xy": -sine, "yx": sine, "yy": cosine}
    _, matrices = images_and([turn, {"xx": 0.8, "yy": 0.9}, {"x": 1.5, "y": -2.25}, {"xx": -1.0}])
    inside = np.s_[:, 6:-6, 6:-6]
    np.testing.assert_allclose(
        at_once(images, matrices)[inside], in_turn(images, matrices)[inside], atol=0.5
    )


@pytest.mark.parametrize(
    ("text", "said"),
    {
        "rotat": "there is no operation 'rotat'; did you mean rotate",
        "flip|": "cannot be read",
        "rotate(angle=3)": "expected rotate(most=0.2)",
        "rotate(1, 2)": "expected rotate(most=0.2)",
        "rotate('far')": "most='far' is not of the kind of 0.2",
        "rotate(0.7)": "most=0.7; expected a number from 0 to 0.5",
        "rotate(-0.1)": "most=-0.1; expected",
        "flip|zoom(1e999)": "most=inf; expected",
        "crop(scale=(2, 1))": "scale=(2, 1); expected (smallest, largest)",
        "crop(scale=(0.5, 0.1))": "scale=(0.5, 0.1); expected",
        "crop(scale=(0.5,))": "scale=(0.5,); expected",
        "crop(ratio=('a', 1))": "ratio=('a', 1); expected",
        "crop(ratio=(0, 1))": "ratio=(0, 1); expected",
        "color(hue=0.6)": "hue=0.6; expected",
        "grey(2)": "probability=2; expected",
        "erase(scale=(-1, 0.5))": "scale=(-1, 0.5); expected",
        "blur(sigma=(0, 1))": "sigma=(0, 1); expected",
        "blur(sigma=(1, 100))": "sigma=(1, 100); expected",
        "randaugment(2.5)": "count=2.5; expected a whole number",
        "randaugment(strength=2)": "strength=2; expected",
        "mixup(-1)": "alpha=-1; expected",
        "mixup(0)": "alpha=0; expected",
        "cutmix(probability=-0.5)": "probability=-0.5; expected",
    }.items(),
)
def test_a_list_that_makes_no_sense_is_one_line_before_there_is_anything_to_augment(text, said):
    with pytest.raises(UserError) as raised:
        Augmentation(text, 0)
    message = str(raised.value)
    assert message.startswith(f"--augment={text}: ") and said in message and "\n" not in message


def plugin(tmp_path, body):
    """Runs a file that registers an operation, as --plugin does."""
    path = tmp_path / "mine.py"
    path.write_text(
        "import tensorflow as tf\nfrom lib.data.augment import OPERATIONS, Examples\n\n"
        "@OPERATIONS.register\ndef mine(examples, draw, most=0.5):\n"
        + textwrap.indent(body, "    ")
    )
    exec(compile(path.read_text(), str(path), "exec"), {"__name__": "mine"})
    return path


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("a = 1\nreturn exampels", "{path}, line 7: NameError: name 'exampels' is not defined"),
        (
            "return examples._replace(images=examples.images * draw(2))",
            "{path}, line 6: ValueError",
        ),
        ("if draw(1)[0, 0] < 0.5:\n    return examples\nreturn examples", "{path}, line 6: Oper"),
        ("return examples.images", "it returned SymbolicTensor; expected Examples"),
        ("return None", "it returned NoneType; expected Examples"),
        (
            "return examples._replace(images=examples.images[:, :8])",
            "images of type float32 and shape (2, 8, 32, 3)",
        ),
        (
            "return examples._replace(images=tf.cast(examples.images, tf.uint8))",
            "images of type uint8",
        ),
        (
            "return examples._replace(targets=examples.targets[:, 0])",
            "targets of type float32 and shape (2,)",
        ),
    ],
)
def test_a_plugin_that_fails_is_one_line_with_file_line_and_error(registered, tmp_path, body, said):
    path = plugin(tmp_path, body)
    with pytest.raises(UserError) as raised:
        Augmentation("flip|mine", 0)
    message = str(raised.value)
    assert message.startswith("--augment=flip|mine: mine: ") and "\n" not in message
    assert said.format(path=path) in message


def test_a_plugin_stands_among_the_operations_and_need_not_be_compilable_by_xla(
    registered, tmp_path
):
    plugin(
        tmp_path,
        "kept = tf.where(draw(1)[:, 0] < 2.0)[:, 0]  # of a size that XLA cannot know\n"
        "return examples._replace(images=tf.gather(examples.images, kept) * most)\n",
    )
    plain = augmented("flip|grey|rotate", noise_images(3))
    np.testing.assert_allclose(
        augmented("flip|grey|mine|rotate", noise_images(3)), plain * 0.5, atol=0.01
    )


def test_a_plugin_that_fails_while_training_is_one_line_that_names_it(registered, tmp_path):
    plugin(
        tmp_path,
        "dark = tf.debugging.assert_less(examples.images, 1000.0 * most, message='too bright')\n"
        "with tf.control_dependencies([dark]):\n"
        "    return examples._replace(images=tf.identity(examples.images))\n",
    )
    augmentation = Augmentation("flip|mine|mine(0.1)|grey", 0)
    augmentation(noise_images(2) // 3, targets(2), 0)
    with pytest.raises(UserError) as raised:
        augmentation(noise_images(2), targets(2), 0)
    message = str(raised.value)
    assert message.startswith("--augment=flip|mine|mine(0.1)|grey: mine(0.1) failed on a batch: ")
    assert "too bright" in message and "\n" not in message


def test_what_is_compiled_as_one_is_what_is_done_in_turn(registered):
    def nothing(examples, draw):
        return examples

    registered(nothing)
    together = "grey(0.5)|erase|mixup|cutmix|erase"
    apart = together.replace("|", "|nothing|")
    examples = noise_images(6), np.eye(6, dtype=np.float32), 4
    for found, expected in zip(
        Augmentation(together, 2)(*examples), Augmentation(apart, 2)(*examples), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_the_worked_examples_of_the_module_work_as_they_stand(registered):
    blocks = [
        textwrap.dedent(block)
        for block in inspect.getdoc(augment).split("\n\n")
        if block.startswith("    @OPERATIONS")
    ]
    assert len(blocks) == 2
    for block in blocks:
        exec(block, vars(augment) | {"__name__": "example"})
    images = np.full((8, SIZE, SIZE, 3), 200, np.uint8)
    result = augmented("darken(0.3)", images)
    assert 140 <= result.min() < result.max() <= 200
    ramp = noise_images(2)
    assert not np.allclose(augmented("shear", ramp), ramp)
    np.testing.assert_allclose(augmented("darken(0.0)|shear(0.0)", ramp), ramp, atol=0.01)


def digest(threads):
    program = f"""
import hashlib, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from lib.system import runtime
runtime.start({threads}, 0)
import numpy as np
from lib.data.augmentation import Augmentation
images = np.random.default_rng(8).integers(0, 256, (6, 64, 64, 3), np.uint8)
result = Augmentation({ALL!r}, 5)(images, np.eye(6, dtype=np.float32), 9)
print(hashlib.sha256(b"".join(each.numpy().tobytes() for each in result)).hexdigest())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_processes_of_any_number_of_threads_augment_alike_to_the_last_bit():
    one = digest(1)
    assert len(one) == len(hashlib.sha256().hexdigest())
    assert digest(4) == one


def test_the_target_of_an_example_is_its_class_and_of_two_classes_that_of_class_1():
    labels = tf.constant([0, 1, 1], tf.int32)
    np.testing.assert_array_equal(one_hot_targets(labels, 2), [[0], [1], [1]])
    np.testing.assert_array_equal(one_hot_targets(labels, 3), [[1, 0, 0], [0, 1, 0], [0, 1, 0]])
    assert one_hot_targets(labels, 2).dtype == one_hot_targets(labels, 3).dtype == tf.float32


def test_of_larger_images_the_middle_is_given():
    images = noise_images(3, size=48)
    middle = images[:, 8:-8, 8:-8]
    labels = targets(3)
    for text, expected in (("", middle), ("flip(0, 0)", middle), ("flip(1)", middle[:, :, ::-1])):
        given = Augmentation(text, 0, SIZE)(images, labels, 0).images
        assert np.array_equal(given, expected), text


def test_what_geometry_brings_into_the_middle_is_of_the_image_around_it():
    images = noise_images(2, size=48)
    images[:, 8:-8, 8:-8] = 0
    moved = Augmentation("translate(1)", 0, SIZE)(images, targets(2), 0).images.numpy()
    everything = Augmentation("translate(1)", 0)(images, targets(2), 0).images.numpy()
    assert np.array_equal(moved, everything[:, 8:-8, 8:-8])


@pytest.mark.parametrize("text", ["crop((1, 1), (1, 1))", "flip(1)|flip(1)|crop((1, 1), (1, 1))"])
def test_a_crop_is_of_all_of_a_larger_image(text):
    ramp = np.zeros((1, 48, 48, 3), np.uint8)
    ramp[0, :, :, 0] = 5 * np.arange(48)
    seen = Augmentation(text, 0, SIZE)(ramp, targets(1), 0).images.numpy()
    # 32 pixels in the room of 48: the first lies at a quarter of a pixel, the next 1.5 further.
    np.testing.assert_allclose(seen[0, 5, :, 0], 5 * (0.25 + 1.5 * np.arange(32)), atol=0.01)


def test_every_operation_takes_larger_images_than_it_gives():
    labels = one_hot_targets(np.array([0, 1, 1]), 2)
    for text in (ALL, "color|randaugment|blur", "mixup|crop|erase"):
        given = Augmentation(text, 0, SIZE)(noise_images(3, size=40), labels, 7)
        assert given.images.shape == (3, SIZE, SIZE, 3)
