"""What a researcher changes is a flag or a few lines of a plugin, and as exact as all else."""

import dataclasses

import pytest

from tests.faults.program import Outcome, history

FOCAL = ["--loss=focal(gamma=1.5)", "--class_weights=cats:1,dogs:2"]
COLOR_JITTER = [
    "--augment=flip|rotate(0.2)|color(0.3)",
    "--finetune_layer_decay=0.5",
    "--finetune_thaw=block_15",
]
MIXUP = [
    "--source_size=40",
    "--augment=flip|crop|mixup(0.4)",
    "--head_views=1",
    "--head_epochs=2",
    "--ema=0.9",
]
OPTIMIZER = [
    "--loss=cross_entropy(label_smoothing=0.1)",
    "--head_optimizer=adamw(weight_decay=0.05, global_clipnorm=1)",
    "--finetune_optimizer=sgd(momentum=0.9, nesterov=True)",
    "--finetune_schedule=linear(warmup=0.2)",
]
PLUGIN = """
import tensorflow as tf

from lib.data.augment import OPERATIONS, Examples
from lib.training.losses import LOSSES
from lib.training.measures import MEASURES
from lib.training.optimizers import SCHEDULES


@OPERATIONS.register
def darken(examples, draw, most=0.5):
    return examples._replace(images=examples.images * (1.0 - most * draw(1)[:, :, None, None]))


@LOSSES.register
def brier(logits, targets):
    return tf.reduce_sum((tf.sigmoid(logits) - targets) ** 2, axis=1)


@MEASURES.register
def margin(outcome):
    return tf.reduce_mean(tf.abs(outcome.logits))


@SCHEDULES.register
def halves(steps, peak, every=0.25):
    return lambda update: peak * 0.5 ** tf.floor(update / (every * steps))
"""
OF_THE_PLUGIN = [
    "--augment=flip|darken(0.3)",
    "--loss=brier",
    "--finetune_schedule=halves(every=0.5)",
    "--log_every=2",
]


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(FOCAL, id="focal loss and class weights"),
        pytest.param(COLOR_JITTER, id="color jitter, and rates by depth"),
        pytest.param(MIXUP, id="mixup of views of the middle, and averages"),
        pytest.param(OPTIMIZER, id="label smoothing, and options of optimizers"),
    ],
)
def test_a_change_by_flags_gives_another_run_that_is_as_exact(reference, tmp_path, flags):
    program = reference.program.with_flags("--finetune_epochs=1", *flags)
    program.finish(tmp_path / "whole")
    whole = Outcome.of(tmp_path / "whole")
    assert whole.weights_sha256 != reference.outcome.weights_sha256
    ended = program.run(tmp_path / "killed", fault="step@5")
    assert ended.code == -9, ended.stdout + ended.stderr
    program.finish(tmp_path / "killed")
    assert Outcome.of(tmp_path / "killed") == whole


def test_runs_that_share_features_end_as_those_that_compute_their_own(reference, tmp_path):
    own = reference.program.with_flags("--head_views=1", "--head_epochs=2", "--finetune_epochs=1")
    sharing = own.with_flags(f"--share_features={tmp_path / 'features'}")
    sharing.with_flags("--head_learning_rate=0.002").finish(tmp_path / "first")
    # A view of the head, and the validation images at the cut of each phase.
    computed = {path: path.stat().st_mtime_ns for path in (tmp_path / "features").iterdir()}
    assert len(computed) == 3
    assert sharing.run(tmp_path / "second", fault="step@4").code == -9
    sharing.finish(tmp_path / "second")
    own.finish(tmp_path / "own")
    assert Outcome.of(tmp_path / "second") == Outcome.of(tmp_path / "own")
    found = {path: path.stat().st_mtime_ns for path in (tmp_path / "features").iterdir()}
    assert found == computed


def test_a_plugin_adds_an_operation_a_loss_a_schedule_and_a_scalar(reference, tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN)
    program = reference.program.with_flags(
        "--finetune_epochs=1", f"--plugin={plugin}", *OF_THE_PLUGIN
    )
    program.finish(tmp_path / "whole")
    whole = Outcome.of(tmp_path / "whole")
    assert [(tag, step) for split, tag, step, _ in whole.series if tag == "step/margin"] == [
        ("step/margin", step) for step in (2, 4, 6)
    ]
    ended = program.run(tmp_path / "killed", fault="step@5")
    assert ended.code == -9, ended.stdout + ended.stderr
    # With another plugin it is another run.
    plugin.write_text(PLUGIN.replace("tf.abs", "tf.square"))
    ended = program.run(tmp_path / "killed")
    assert ended.code == 1 and "mine.py" in ended.stderr and ended.stderr.count("\n") == 1
    plugin.write_text(PLUGIN)
    program.finish(tmp_path / "killed")
    assert Outcome.of(tmp_path / "killed") == whole


def test_gradual_thawing_killed_in_two_of_its_phases_ends_in_the_same_bits(reference, tmp_path):
    names = ("head", "top", "middle", "whole")
    others = [a for a in reference.program.arguments if not a.startswith(("--finetune", "--fine_"))]
    program = dataclasses.replace(reference.program, arguments=tuple(others)).with_flags(
        "--flagfile=flags/gradual.cfg", *(f"--{name}_epochs=1" for name in names)
    )
    program.finish(tmp_path / "whole")
    whole = Outcome.of(tmp_path / "whole")
    assert [row[1] for row in history(tmp_path / "whole")] == ["phase", "start", *names]
    # At the second of the three steps of a phase: as a start counts, from the checkpoint before.
    for name, arrival, checkpoint in (("top", 5, 4), ("whole", 7, 10)):
        ended = program.run(tmp_path / "killed", fault=f"step@{arrival}")
        assert ended.code == -9, ended.stdout + ended.stderr
        assert f"Phase {name}:" in ended.stdout
        assert (tmp_path / "killed" / "checkpoints" / f"ckpt-{checkpoint}.json").exists()
    program.finish(tmp_path / "killed")
    assert Outcome.of(tmp_path / "killed") == whole


def test_patience_and_the_best_epoch_are_the_same_however_often_it_stops(reference, tmp_path):
    program = reference.program.with_flags(
        "--head_epochs=6",
        "--head_learning_rate=0.3",  # so that epochs differ
        "--head_patience=1",
        "--head_restore_best",
        "--finetune_epochs=1",
    )
    program.finish(tmp_path / "whole")
    whole = Outcome.of(tmp_path / "whole")
    epochs = [row[1] for row in history(tmp_path / "whole")].count("head")
    assert 2 <= epochs < 6
    for fault in ("head.best:manifest", "step@4", "head:data", "phase:finetune"):
        ended = program.run(tmp_path / "killed", fault=fault)
        assert ended.code == -9, ended.stdout + ended.stderr
    program.finish(tmp_path / "killed")
    assert Outcome.of(tmp_path / "killed") == whole
