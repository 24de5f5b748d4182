"""What is made of the results of runs: examples computed by hand, without any run."""

import json

import pytest

from lib.runs.history import Epoch, write_history
from lib.study import groups, plan, results, table
from lib.study.best import best_run
from lib.study.plan import Plan, begin
from lib.study.results import best_of, difference, fixed_points, points_of, pooled

FLAGS = {
    "seed": 4,
    "fold": None,
    "from_run": None,
    "phases": ["head"],
    "threads": 0,
    "dropout": 0.2,
}


def write_run(study, name, loss, accuracy, last=None, count=100):
    """Leaves what a finished run of two epochs leaves, of which the first is the best."""
    folder = study / "runs" / name
    folder.mkdir(parents=True, exist_ok=True)
    write_history(
        folder / "history.csv",
        [
            Epoch.untrained(0.7, 0.5),
            Epoch(1, "head", 4, 1e-4, 0.5, 0.8, loss, accuracy, 100.0, 1.0),
            Epoch(2, "head", 8, 1e-4, 0.5, 0.8, loss + 1, last or accuracy, 100.0, 1.0),
        ],
    )
    figures = {
        "epoch": 2,
        "weights_sha256": f"{name}-of-a-run",
        "validation": {"loss": loss + 1, "accuracy": last or accuracy, "count": count},
        "best": {
            "epoch": 1,
            "validation": {"loss": loss, "accuracy": accuracy, "count": count},
        },
        "test": {"loss": loss + 2, "accuracy": accuracy - 0.1},
        "seconds": {"total": 61.0},
    }
    (folder / "result.json").write_text(json.dumps(figures))


def planned(folder, **given):
    study = folder / "study"
    made = Plan(place=str(folder), arguments=(), flags=FLAGS, **given)
    begin(study, made)
    return study, made


@pytest.fixture
def folds(tmp_path):
    """Two folds of two seeds."""
    study, made = planned(tmp_path, seeds=2, folds=2)
    write_run(study, "seed-4-fold-1", 0.30, 0.90, last=0.93)
    write_run(study, "seed-4-fold-2", 0.20, 0.96, last=0.94, count=50)
    write_run(study, "seed-5-fold-1", 0.10, 0.80)
    return study, made


def test_members_are_the_seeds_from_that_of_the_command_line_on_and_all_folds_of_each(folds):
    _, made = folds
    assert [each.name for each in made.members] == [
        f"seed-{seed}-fold-{fold}" for seed in (4, 5) for fold in (1, 2)
    ]
    assert made.members[1].arguments == ("--seed=4", "--fold=2/2")


def test_folds_are_pooled_image_by_image_of_each_seed_that_has_all_of_them(folds):
    study, made = folds
    (point,) = points_of(made, study)
    found = pooled(made, point)
    assert list(found) == [4]  # a fold of the other seed is missing
    assert (found[4].correct, found[4].count) == (90 + 48, 150)
    assert found[4].accuracy == pytest.approx(0.92)
    # E. B. Wilson's: 0.909512 ± 0.044134.
    assert found[4].interval == pytest.approx((0.865379, 0.953646), abs=1e-6)
    (last,) = pooled(made, point, last=True).values()
    assert (last.correct, last.count) == (93 + 47, 150)


def test_a_point_is_finished_and_rated_only_with_all_of_its_runs(folds):
    study, made = folds
    (point,) = points_of(made, study)
    assert (point.state, point.rating, best_of(made, [point])) == ("unfinished", None, None)
    write_run(study, "seed-5-fold-2", 0.40, 0.70)
    (point,) = points_of(made, study)
    assert point.state == "finished" and point.rating == pytest.approx(0.25)
    assert point.figures("validation_accuracy") == [0.9, 0.96, 0.8, 0.7]
    assert point.weights == "seed-4-fold-1-of-a-run"
    assert best_run(made, point).run.name == "seed-5-fold-1"
    write_run(study, "seed-5-fold-2", 0.10, 0.99)
    (point,) = points_of(made, study)
    assert best_run(made, point).run.name == "seed-5-fold-1"  # of equals the first


def test_a_failure_is_the_state_of_its_point_and_said(folds):
    study, made = folds
    (study / "failed").mkdir()
    (study / "failed" / "seed-5-fold-2.txt").write_text("too hot\n")
    (point,) = points_of(made, study)
    assert (point.state, point.error, len(point.finished)) == ("failed", "too hot", 3)
    assert "seed-5-fold-2  failed: too hot" in table.text(made, [point])


def test_the_mean_over_folds_has_the_interval_for_overlapping_folds(folds):
    study, made = folds
    (point,) = points_of(made, study)
    found = results.mean_figure(made, point, "validation_loss")
    # 0.3, 0.2, 0.1: deviation 0.1, t(2) = 4.302653; 1/3 + 1/1, as in a fold one is held back for
    # each that is trained on.
    half = 4.302653 * 0.1 * (1 / 3 + 1) ** 0.5
    assert found.interval == pytest.approx((0.2 - half, 0.2 + half), abs=1e-6)
    assert (found.count, found.mean) == (3, pytest.approx(0.2))


def test_the_difference_over_folds_allows_for_their_overlap(tmp_path):
    study, made = planned(tmp_path, folds=3, space="dropout=0.1|0.3")
    for fold, loss in ((1, 0.1), (2, 0.3), (3, 0.2)):
        write_run(study, f"trial-000-fold-{fold}", 0.5, 0.9)
        write_run(study, f"trial-001-fold-{fold}", 0.5 + loss, 0.9)
    found = difference(made, *points_of(made, study), "validation_loss")
    error = 0.1 * (1 / 3 + 1 / 2) ** 0.5  # one is held back for two that are trained on
    half = 4.302653 * error
    assert found.interval == pytest.approx((0.2 - half, 0.2 + half), abs=1e-6)
    # Of two degrees of freedom the tail has a closed form.
    t = 0.2 / error
    assert found.p_value == pytest.approx(1 - t / (2 + t * t) ** 0.5)


def test_a_leak_is_told_once_though_several_folds_have_found_it(tmp_path):
    study, made = planned(tmp_path, folds=2)
    for fold, rows in (("1", "a.png,b.png\n"), ("2", "b.png,a.png\nc.png,d.png\n")):
        write_run(study, f"fold-{fold}", 0.5, 0.9)
        path = study / "runs" / f"fold-{fold}" / "leaks.csv"
        path.write_text(f"image,the_same_image\n{rows}")
    assert results.leaks(points_of(made, study)) == [("a.png", "b.png"), ("c.png", "d.png")]


@pytest.fixture
def grid(tmp_path):
    """Two points of two seeds, of which the second has the lower loss and the lower accuracy."""
    study, made = planned(tmp_path, seeds=2, space="dropout=0.1|0.3")
    for name, loss, accuracy in (
        ("trial-000-seed-4", 0.30, 0.95),
        ("trial-000-seed-5", 0.20, 0.90),
        ("trial-001-seed-4", 0.20, 0.90),
        ("trial-001-seed-5", 0.16, 0.89),
    ):
        write_run(study, name, loss, accuracy)
    return study, made


def test_a_lower_loss_is_better_whatever_the_accuracy(grid):
    study, made = grid
    points = points_of(made, study)
    assert [point.values for point in points] == [{"dropout": "0.1"}, {"dropout": "0.3"}]
    assert best_of(made, points).name == "trial-001"
    assert best_run(made, points[0]).run.name == "trial-000-seed-5"
    assert "Best: trial-001, --dropout=0.3" in table.text(made, points)


def test_by_accuracy_more_is_better_and_of_equals_the_first_is_taken(grid):
    study, _ = grid
    made = Plan(
        place="",
        arguments=(),
        flags=FLAGS,
        seeds=2,
        space="dropout=0.1|0.3",
        objective="validation_accuracy",
    )
    points = points_of(made, study)
    assert best_of(made, points).name == "trial-000"
    assert [point.rating for point in points] == pytest.approx([0.925, 0.895])
    assert made.best("abc", {"a": 1.0, "b": 2.0, "c": 2.0}.get) == "b"
    assert made.best("abc", {"b": 2.0}.get) == "b" and made.best("abc", {}.get) is None


def test_the_difference_is_the_second_less_the_first_in_pairs_of_a_seed(grid):
    study, made = grid
    one, two = points_of(made, study)
    found = difference(made, one, two, "validation_loss")
    # -0.10 and -0.04: mean -0.07, deviation 0.06 / sqrt(2), t(1) = 12.7062; t = 0.07 / 0.03.
    assert found.mean == pytest.approx(-0.07) and found.count == 2
    assert found.interval == pytest.approx(
        (-0.07 - 12.7062 * 0.03, -0.07 + 12.7062 * 0.03), abs=1e-5
    )
    assert found.p_value == pytest.approx(0.2577, abs=1e-4)  # 1 - 2 / pi * atan(7 / 3)
    (study / "runs" / "trial-000-seed-5" / "result.json").unlink()
    one, two = points_of(made, study)
    assert difference(made, one, two, "validation_loss") is None  # a single pair


def test_studies_are_compared_in_pairs_of_the_same_seed_and_fold(grid, tmp_path):
    study, _ = grid
    other = tmp_path / "other"
    other.mkdir()
    second, _ = planned(other, seeds=3)
    for seed, loss in ((4, 0.5), (5, 0.4), (6, 9.0)):
        write_run(second, f"seed-{seed}", loss, 0.5)
    found = [groups.group(study, "one"), groups.group(second, "two")]
    assert [each.over for each in found] == ["trial-001 of 2, 2 seeds", "3 seeds"]
    rows = {row[0]: row[1:] for row in groups.difference_rows(found)}
    assert rows["two: validation loss"][0] == "+0.2700" and rows["two: validation loss"][-1] == "2"
    assert rows["two: test accuracy"][0] == "-0.3950"
    assert ["--dropout", "0.3", "0.2"] in groups.flag_rows(found)
    assert [row[1] for row in groups.result_rows(found)][:3] == [found[0].over, "2", "0.1800"]


def test_a_seed_that_a_study_does_not_vary_is_that_of_its_command_line(tmp_path):
    found = []
    for name, given in (("one", {}), ("two", {"seeds": 2})):
        (tmp_path / name).mkdir()
        study, _ = planned(tmp_path / name, folds=2, **given)
        for fold in (1, 2):
            write_run(study, f"{'seed-4-' * (name == 'two')}fold-{fold}", 0.1 * fold, 0.9)
        found.append(groups.group(study, name))
    pairs = [row[-1] for row in groups.difference_rows(found)]
    assert pairs[0] == "pairs" and set(pairs[1:]) == {"2"}


def test_a_run_of_a_trial_on_another_machine_counts_by_what_the_storage_knows(tmp_path):
    study, made = planned(tmp_path, space="dropout=uniform(0, 1)", trials=2)
    known = {"validation_loss": [0.25], "validation_accuracy": [0.8]}
    here = {"number": 0, "values": {"dropout": 0.5}, "state": "finished", "rating": 0.25}
    waiting = {"number": 1, "values": {}, "state": "waiting", "rating": None}
    rest = {"error": "", "pruned_at": "", "weights": "abc"}
    trials = [here | rest | {"known": known}, waiting | rest | {"known": {}}]
    (study / "trials.json").write_text(json.dumps({"trials": trials}))
    points = points_of(made, study)
    assert [point.state for point in points] == ["finished", "waiting"]
    assert points[0].figures("validation_accuracy") == [0.8] and not points[0].finished
    said = table.text(made, points)
    assert "trial-000  0.5      0.2500           -   0.8000               1     abc" in said
    assert "The runs of trial-000 are in the study's folder on another machine" in said


def test_what_differs_only_in_later_phases_shares_the_ones_before():
    def shared(*varied, **flags):
        phases = ["head", "top", "all"]
        epochs = {f"{phase}_epochs": 3 for phase in phases}
        all_flags = FLAGS | {"phases": phases} | epochs | flags
        return plan.shared_phase(Plan("", (), all_flags), varied)

    assert shared("all_learning_rate") == "top"
    assert shared("top_thaw", "all_learning_rate") == "head"
    assert shared("head_epochs") is None and shared("dropout", "all_thaw") is None
    assert shared() is None and shared("all_thaw", from_run="other") is None
    assert shared("all_thaw", top_epochs=0) is None
    assert plan.shared_phase(Plan("", (), FLAGS, share=False), ["all_thaw"]) is None


def test_the_points_of_a_grid_are_numbered_in_its_order():
    made = Plan("", (), FLAGS, space="a=x|y; b=int(1, 2)")
    assert fixed_points(made)["trial-001"] == {"a": "x", "b": 2}
    assert fixed_points(Plan("", (), FLAGS)) == {"": {}}
