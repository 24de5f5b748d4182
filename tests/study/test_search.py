"""Searches over a space, with a stand-in for train.py."""

import csv
import json
import random
import signal
import time

import pytest

from tests.study.program import kill, start, study, table

SPACE = "--space=finetune_learning_rate=log(1e-6, 1e-2); dropout=uniform(0, 0.5)"
TRIALS = [SPACE, "--trials=8"]


def trials(folder):
    return json.loads((folder / "trials.json").read_text())


def killed(asked, times, seed=0):
    """Begins a study, and kills it as often at random moments."""
    waits = random.Random(seed)
    folder = asked[0].partition("=")[2]
    for _ in range(times):
        process = start(*asked)
        assert "Study of" in process.stdout.readline(), folder
        time.sleep(waits.uniform(0, 1.8))
        kill(process)


@pytest.fixture(scope="module")
def undisturbed(flags, tmp_path_factory):
    folder = tmp_path_factory.mktemp("search") / "study"
    return folder, study(f"--study={folder}", *TRIALS, *flags)


def test_a_search_that_was_killed_five_times_finds_the_same(undisturbed, flags, tmp_path):
    folder, said = undisturbed
    asked = [f"--study={tmp_path / 'study'}", *TRIALS, *flags]
    killed(asked, times=5)
    assert table(study(*asked)) == table(said)
    assert trials(tmp_path / "study") == trials(folder)


def test_trials_are_of_the_space_and_some_are_given_up(undisturbed):
    found = trials(undisturbed[0])
    rates = [each["values"]["finetune_learning_rate"] for each in found["trials"]]
    assert len(set(rates)) == 8 and min(rates) > 1e-6 and max(rates) < 1e-2
    states = [each["state"] for each in found["trials"]]
    assert "pruned" in states and set(states) <= {"pruned", "finished"}
    if shares := found["importances"]:
        assert sum(shares.values()) == pytest.approx(1)


def test_what_is_given_up_is_stopped_early_and_says_when(undisturbed):
    folder, said = undisturbed
    for each in trials(folder)["trials"]:
        name = f"trial-{each['number']:03d}"
        if each["state"] == "pruned":
            assert f"{name}: given up after {each['pruned_at']}" in said
            assert each["rating"] is None


def test_runs_side_by_side_find_the_same_however_often_killed(flags, tmp_path):
    asked = [SPACE, "--trials=6", "--jobs=2", *flags]
    said = study(f"--study={tmp_path / 'one'}", *asked)
    killed([f"--study={tmp_path / 'two'}", *asked], times=2, seed=1)
    assert table(study(f"--study={tmp_path / 'two'}", *asked)) == table(said)
    assert trials(tmp_path / "one") == trials(tmp_path / "two")


def test_more_trials_go_on_as_if_all_had_been_asked_for_at_once(undisturbed, flags, tmp_path):
    _, said = undisturbed
    asked = [f"--study={tmp_path / 'study'}", SPACE]
    study(*asked, "--trials=4", *flags)
    assert table(study(*asked, "--trials=8", *flags)) == table(said)
    refused = study(*asked, "--trials=3", *flags, code=1)
    assert (
        "trials (8 there, 3 now, and only more may follow)" in refused and refused.count("\n") == 1
    )


def test_two_processes_share_the_trials_of_a_study(flags, tmp_path):
    asked = [f"--study={tmp_path / 'study'}", SPACE, "--trials=5", *flags]
    both = [start(*asked), start(*asked)]
    said = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    numbers = [each["number"] for each in trials(tmp_path / "study")["trials"]]
    assert numbers == list(range(5))
    for number in numbers:
        assert sum(f"trial-{number:03d}: --finetune" in out for out, _ in said) == 1
    assert table(said[0][0]) == table(said[1][0])


def test_a_process_takes_over_what_another_was_killed_at(flags, tmp_path):
    asked = [f"--study={tmp_path / 'study'}", SPACE, "--trials=3", *flags]
    first = start(*asked)
    while not list(tmp_path.glob("study/runs/trial-001/history.csv")):
        time.sleep(0.05)
    kill(first)
    said = study(*asked)
    assert "trial-001: --finetune" in said and "trial-000: --finetune" not in said


def test_what_varies_in_a_later_phase_alone_shares_the_head(flags, tmp_path):
    space = "--space=finetune_learning_rate=1e-5|1e-4|1e-3"
    said = study(f"--study={tmp_path / 'study'}", space, "--seeds=2", *flags)
    heads = sorted(path.name for path in (tmp_path / "study" / "runs").glob("head-*"))
    assert heads == ["head-seed-0", "head-seed-1"]
    assert all(said.count(f"{name}: head, which all") == 1 for name in heads)
    for run in (tmp_path / "study" / "runs").glob("trial-*"):
        flags = json.loads((run / "config.json").read_text())["flags"]
        assert flags["from_run"] == str(run.parent / f"head-seed-{flags['seed']}")
        assert (flags["from_phase"], flags["head_epochs"]) == ("head", 0)


def test_what_varies_in_all_of_a_run_shares_nothing(undisturbed):
    assert not list((undisturbed[0] / "runs").glob("head*"))


@pytest.mark.parametrize(
    ("space", "others", "shared"),
    [
        ("--space=dropout=0.1|0.2", (), True),
        ("--space=dropout=0.1|0.2", ("--no_share",), False),
        ("--seeds=2", (), False),  # they would have none in common
    ],
)
def test_the_runs_of_a_search_share_features_until_its_end(flags, tmp_path, space, others, shared):
    place = tmp_path / "study" / "features"
    study(f"--study={tmp_path / 'study'}", space, *others, *flags)
    kept = [json.loads(path.read_text())["flags"] for path in tmp_path.glob("study/runs/*/config*")]
    assert [each["share_features"] for each in kept] == [str(place) if shared else None] * 2
    assert not place.exists()
    if shared:
        assert "share_features" not in (tmp_path / "study" / "best.cfg").read_text()


def test_a_finite_space_is_gone_through_whole(flags, tmp_path):
    space = "--space=dropout=0.1|0.2; finetune_epochs=int(1, 2)"
    said = study(f"--study={tmp_path / 'study'}", space, *flags)
    found = [json.loads(path.read_text())["flags"] for path in sorted(
        (tmp_path / "study").glob("runs/*/config.json"))]  # fmt: skip
    points = [(each["dropout"], each["finetune_epochs"]) for each in found]
    assert points == [(0.1, 1), (0.1, 2), (0.2, 1), (0.2, 2)]
    assert "Best: trial-00" in said


def test_a_trial_is_rated_by_the_mean_of_its_folds(flags, tmp_path):
    folder = tmp_path / "study"
    study(f"--study={folder}", SPACE, "--trials=2", "--folds=2", "--no_prune", *flags)
    for each in trials(folder)["trials"]:
        files = sorted(folder.glob(f"runs/trial-{each['number']:03d}-*/result.json"))
        found = [json.loads(file.read_text())["best"]["validation"]["loss"] for file in files]
        assert len(found) == 2 and each["rating"] == pytest.approx(sum(found) / 2)


def test_a_trial_that_fails_is_marked_and_the_others_go_on(flags, tmp_path):
    space = ["--space=dropout=0.99|0.2", "--trials=4"]
    said = study(f"--study={tmp_path / 'study'}", *space, *flags, "--seed=1", code=1)
    found = trials(tmp_path / "study")["trials"]
    failed = [each for each in found if each["values"]["dropout"] == "0.99"]
    assert [each["number"] for each in failed] == [0, 3] and len(found) == 4
    for each in found:
        assert each["state"] == ("failed" if each in failed else "finished")
    assert "failed: a dropout of 0.99 is too much; give less; the others go on" in said


def best_epoch(run):
    """The loss and accuracy of the row of the lowest loss."""
    with open(run / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))[1:]
    return min((float(r["validation_loss"]), float(r["validation_accuracy"])) for r in rows)


def test_a_trial_is_rated_by_the_loss_of_the_best_epoch_and_the_lowest_is_the_best(undisturbed):
    folder, said = undisturbed
    found = {}
    for each in trials(folder)["trials"]:
        loss, accuracy = best_epoch(folder / "runs" / f"trial-{each['number']:03d}")
        if each["state"] == "finished":
            found[each["number"]] = loss
            assert each["rating"] == loss
            assert each["known"] == {"validation_loss": [loss], "validation_accuracy": [accuracy]}
    best = min(found, key=found.get)
    assert f"Best: trial-{best:03d}" in said
    assert f"# trial-{best:03d}, rated by the validation loss" in (folder / "best.cfg").read_text()


def test_a_search_by_accuracy_wants_more_of_it_in_the_same_epoch(flags, tmp_path):
    asked = [SPACE, "--trials=4", "--no_prune", "--objective=validation_accuracy", *flags]
    said = study(f"--study={tmp_path / 'study'}", *asked)
    found = trials(tmp_path / "study")["trials"]
    for each in found:
        run = tmp_path / "study" / "runs" / f"trial-{each['number']:03d}"
        assert each["rating"] == best_epoch(run)[1]
    best = max(found, key=lambda each: each["rating"])
    assert f"Best: trial-{best['number']:03d}" in said


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--space=a=log(1"], "--space: 'a=log(1' cannot be read"),
        (["--space=nope=1|2"], "Unknown command line flag 'nope'"),
        (["--space=dropout=uniform(0, 2)", "--trials=3"], "expected a rate from 0 to below 1"),
        (["--space=dropout=uniform(0, 0.5)"], "has ranges, so that there is no end of it"),
        (["--space=workdir=a|b"], "--workdir is decided by the study itself"),
        (["--space=seed=1|2", "--seeds=2"], "--seed is in --space and in --seeds"),
        (["--seeds=2", "--trials=3"], "--trials=3 is for a --space"),
        (["--seeds=2", "--storage=sqlite:///x"], "--storage is for --trials"),
        ([*TRIALS, "--storage=nothing"], "is no URL of a database"),
    ],
)
def test_a_wrong_space_is_one_line_and_nothing_is_written(flags, tmp_path, arguments, line):
    said = study(f"--study={tmp_path / 's'}", *arguments, *flags, code=2)
    assert said.startswith("python -m lib.study: error: ") and said.count("\n") == 1
    assert line in said
    assert not list(tmp_path.iterdir())


def test_a_storage_that_cannot_be_reached_is_one_line(flags, tmp_path):
    url = f"--storage=sqlite:////{tmp_path}/nowhere/trials.db"
    said = study(f"--study={tmp_path / 's'}", *TRIALS, url, *flags, code=1).splitlines()
    assert said[-1].startswith("python -m lib.study: error: ")
    assert "unable to open database file" in said[-1]


def test_a_storage_of_another_study_is_refused(undisturbed, flags, tmp_path):
    url = f"sqlite:///{undisturbed[0]}/trials.sqlite3"
    asked = [f"--study={tmp_path / 'study'}", "--space=dropout=0.1|0.2", "--trials=2"]
    said = study(*asked, f"--storage={url}", *flags, code=1).splitlines()[-1]
    assert "holds another study of this name, which differs in space" in said


def test_a_signal_ends_a_search(flags, tmp_path):
    asked = [f"--study={tmp_path / 'study'}", *TRIALS, *flags]
    process = start(*asked)
    while not list(tmp_path.glob("study/runs/trial-001/history.csv")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, err) == (130, "")
    assert "Stopped by SIGINT" in out
