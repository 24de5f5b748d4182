import contextlib
import csv
import dataclasses
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from lib.config import Config
from lib.data.dataset import Dataset, Subset, open_dataset
from lib.errors import UserError
from lib.runs import folder as run_folder
from lib.runs.folder import (
    Saved,
    continued,
    locked,
    report_findings,
    report_skipped,
    require_same,
    require_same_images,
    require_saved,
)
from lib.system.runtime import cores, provenance


@contextlib.contextmanager
def silent(what, total, unit):
    yield lambda amount: None


def started(config=Config(threads=2), **made_by):  # noqa: B008 - it is frozen
    """What a run's last start left."""
    return Saved(config.to_json(), {"classes": ["a", "b"]}, provenance() | made_by)


def test_a_missing_folder_is_made_with_those_above_it(tmp_path):
    with locked(tmp_path / "runs" / "new"):
        assert (tmp_path / "runs" / "new").is_dir()


def test_after_an_early_error_nothing_is_left_of_folders_that_were_made(tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    for folder in (mine, mine / "runs" / "new"):
        with pytest.raises(UserError, match="no data"), locked(folder):
            raise UserError("no data")
    assert list(tmp_path.iterdir()) == [mine]
    assert list(mine.iterdir()) == []


def test_after_a_later_error_a_run_and_its_lists_stay(tmp_path):
    for name in ("config.json", "skipped.csv"):
        with pytest.raises(UserError, match="broken"), locked(tmp_path / name / "run"):
            (tmp_path / name / "run" / name).touch()
            raise UserError("broken")
        assert (tmp_path / name / "run" / name).exists()


def test_a_folder_in_use_is_refused_with_the_process_that_uses_it(tmp_path):
    with (
        locked(tmp_path),
        pytest.raises(UserError, match=f"in use by process {os.getpid()}: wait"),
        locked(tmp_path),
    ):
        pass


def test_a_folder_is_free_again_afterwards(tmp_path):
    for _ in range(2):
        with locked(tmp_path):
            pass


def test_a_folder_is_free_again_when_its_process_was_killed(tmp_path):
    program = (
        "import os, sys; from pathlib import Path; from lib.runs.folder import locked\n"
        "with locked(Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)])
    assert done.returncode == -9
    with locked(tmp_path):
        pass


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UserError, match=r"neither empty nor a run \(thesis.tex is in it\)"):
        locked(tmp_path).__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_what_a_start_that_was_killed_left_is_not_something_else(tmp_path):
    for name in (
        ".lock",
        "skipped.csv",
        "leaks.csv",
        "conflicts.csv",
        "images.csv",
        ".config.0123abcd.partial.json",
    ):
        (tmp_path / name).write_text("")
    with locked(tmp_path):
        pass


def test_a_run_may_have_any_other_file_beside_it(tmp_path):
    run_folder.save(tmp_path, Config(), {})
    (tmp_path / "notes.txt").write_text("")
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("below", ["", "run"])
def test_a_file_where_the_folder_should_be_is_refused(tmp_path, below):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="is a file, or lies below one"):
        locked(tmp_path / "file" / below).__enter__()
    assert (tmp_path / "file").read_text() == "mine"


def test_a_new_folder_holds_no_run(tmp_path):
    assert run_folder.saved(tmp_path) is None
    with pytest.raises(UserError, match="holds no run"):
        require_saved(tmp_path)


def test_a_saved_run_comes_back_as_it_was(tmp_path):
    config = Config(dataset="/zoo/Bären", train_limit=5, plugin=("mine.py",)).with_flags(
        phases=["head", "top"], top_thaw="block_13"
    )
    facts = {"classes": ["Bär", "Löwe"], "data_sha256": "abc"}
    run_folder.save(tmp_path, config, facts)
    for found in (run_folder.saved(tmp_path), require_saved(tmp_path)):
        assert found.config == config
        assert found.facts == facts
        assert found.made_by == provenance()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"flags": {}}', "\udcff"])
def test_a_damaged_configuration_is_an_error_of_one_line(tmp_path, content):
    (tmp_path / "config.json").write_text(content, errors="surrogateescape")
    with pytest.raises(UserError, match=r"config\.json cannot be read") as error:
        run_folder.saved(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("commit", "said"), [("0123", "made it, commit 0123"), (None, "made it")])
def test_a_run_of_a_version_with_other_flags_is_an_error_that_names_them(tmp_path, commit, said):
    run_folder.save(tmp_path, Config(), {})
    written = json.loads((tmp_path / "config.json").read_text())
    written["flags"]["breadth"] = written["flags"].pop("alpha")
    written["made_by"]["commit"] = commit
    (tmp_path / "config.json").write_text(json.dumps(written))
    with pytest.raises(
        UserError, match=rf"of another version \(unknown: breadth\): .* version that {said}$"
    ):
        run_folder.saved(tmp_path)


def test_a_flag_that_is_younger_than_a_run_had_its_default(tmp_path):
    run_folder.save(tmp_path, Config(engine="plain"), {})
    written = json.loads((tmp_path / "config.json").read_text())
    del written["flags"]["engine"]
    (tmp_path / "config.json").write_text(json.dumps(written))
    assert run_folder.saved(tmp_path).config == Config()


def test_a_new_run_gets_all_cores_unless_asked_otherwise(tmp_path):
    assert continued(tmp_path, Config(), None).threads == cores()
    assert continued(tmp_path, Config(threads=7), None).threads == 7


def test_another_number_of_threads_is_no_other_run_and_nothing_is_said(tmp_path, capsys):
    before = started(Config(threads=5))
    assert continued(tmp_path, Config(), before).threads == cores()
    assert continued(tmp_path, Config(threads=3), before).threads == 3
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("batch_size", "slices"), [(32, 2), (6, 2), (4, 2), (7, 1)])
def test_a_new_run_has_two_slices_where_its_batches_allow(tmp_path, batch_size, slices):
    assert continued(tmp_path, Config(batch_size=batch_size), None).slices == slices


def test_a_run_keeps_its_number_of_slices(tmp_path):
    before = started(Config(slices=8))
    assert continued(tmp_path, Config(), before).slices == 8
    with pytest.raises(UserError, match=r"differs in slices \(8 there, 2 now\)"):
        continued(tmp_path, Config(slices=2), before)


def test_a_run_from_before_there_were_slices_goes_on_without(tmp_path):
    run_folder.save(tmp_path, Config(slices=4), {})
    written = json.loads((tmp_path / "config.json").read_text())
    del written["flags"]["slices"]
    (tmp_path / "config.json").write_text(json.dumps(written))
    assert continued(tmp_path, Config(), run_folder.saved(tmp_path)).slices == 1


def test_another_machine_or_version_is_warned_of_and_another_commit_is_not(tmp_path, capsys):
    continued(tmp_path, Config(), started(numpy="1.0.0", commit="0" * 40))
    said = capsys.readouterr().out
    assert "numpy 1.0.0, now" in said and "commit" not in said


def test_another_configuration_is_refused_with_all_that_differs(tmp_path):
    asked = Config(seed=3, alpha=0.5, loss="focal")
    with pytest.raises(UserError) as error:
        continued(tmp_path, asked, started())
    message = str(error.value)
    assert "seed (0 there, 3 now)" in message
    assert "alpha (1.0 there, 0.5 now)" in message
    assert "loss (cross_entropy there, focal now)" in message
    assert "batch_size" not in message and "\n" not in message


def test_phases_are_compared_elsewhere_where_it_is_known_which_have_begun(tmp_path):
    asked = Config().with_flags(phases=["head", "top"], head_optimizer="sgd", top_thaw=50)
    assert continued(tmp_path, asked, started()).phases == asked.phases


def test_a_run_of_the_first_edition_names_the_version_that_goes_on_with_it(tmp_path):
    flags = {"workdir": "x", "rotation": 0.2, "head_epochs": 10, "fine_tune_at": 100}
    made_by = {"commit": "bfaf5f5"}
    written = {"flags": flags, "facts": {}, "made_by": made_by}
    (tmp_path / "config.json").write_text(json.dumps(written))
    for read in (run_folder.saved, require_saved):
        with pytest.raises(
            UserError, match=r"fine_tune_at, rotation\): .*, commit bfaf5f5$"
        ) as error:
            read(tmp_path)
        assert "\n" not in str(error.value)


def test_where_things_are_kept_may_change(tmp_path):
    asked = dataclasses.replace(Config(), data_dir="/elsewhere", checkpoint_every=7, cache_mb=1)
    assert continued(tmp_path, asked, started()).checkpoint_every == 7


def test_equal_values_are_the_same_run_and_others_are_not(tmp_path):
    require_same(tmp_path, {"data_sha256": "a", "more": 1}, {"data_sha256": "a"})
    with pytest.raises(UserError, match=r"differs in data_sha256 \(a there, b now\)"):
        require_same(tmp_path, {"data_sha256": "a"}, {"data_sha256": "b"})


def dataset(skipped=(), leaks=(), cached=10, **more):
    store = SimpleNamespace(cached=cached, images=("x",) * 10)

    def subset(count):
        return Subset(("ants", "bees"), ("x",) * count, np.zeros(count), np.zeros(count), store)

    return Dataset(("ants", "bees"), subset(5), subset(3), subset(2), skipped, leaks, "", **more)


def test_what_there_is_to_train_on_is_said(tmp_path, capsys):
    report_findings(tmp_path, dataset())
    expected = "5 training, 3 validation and 2 test images of ants, bees\n"
    assert capsys.readouterr().out == expected
    assert not (tmp_path / "skipped.csv").exists()


def test_that_not_all_images_fit_in_the_cache_is_said(tmp_path, capsys):
    report_findings(tmp_path, dataset(cached=4))
    assert "\n4 of 10 images are kept decoded on disk" in capsys.readouterr().out


def test_a_list_of_images_left_out_goes_when_there_are_none(tmp_path):
    for skipped, there in (((("ants/a.jpg", "it is empty"),), True), ((), False)):
        report_skipped(tmp_path, skipped)
        assert (tmp_path / "skipped.csv").exists() == there


def test_images_that_were_left_out_are_listed_with_the_reason(tmp_path, capsys):
    odd = os.fsdecode(b"ants/\xff.jpg")  # no UTF-8
    report_findings(tmp_path, dataset(skipped=(("ants/a, b.jpg", "it is empty"), (odd, "so"))))
    assert "images left out: 2; see" in capsys.readouterr().out
    listed = (tmp_path / "skipped.csv").read_bytes()
    assert listed == b'file,reason\n"ants/a, b.jpg",it is empty\nants/\xff.jpg,so\n'


def test_each_leak_is_said_with_both_names(tmp_path, capsys):
    report_findings(tmp_path, dataset(leaks=(("train/ants/a.jpg", "validation/ants/b.jpg"),)))
    said = capsys.readouterr().out
    assert "train/ants/a.jpg and validation/ants/b.jpg are the same image" in said


def test_each_image_in_two_classes_is_said_with_both_names(tmp_path, capsys):
    report_findings(tmp_path, dataset(conflicts=(("ants/a.jpg", "bees/b.jpg"),)))
    said = capsys.readouterr().out
    assert "ants/a.jpg and bees/b.jpg are the same image, in different classes" in said


@pytest.mark.parametrize("kind", ["leaks", "conflicts"])
@pytest.mark.parametrize("count", [9, 10, 11, 35])
def test_long_lists_are_cut_and_kept_as_a_table(tmp_path, capsys, kind, count):
    pairs = [(f"a/{i}.jpg", f"b/{i},{i}.jpg") for i in range(count)]
    report_findings(tmp_path, dataset(**{kind: tuple(pairs)}))
    said = capsys.readouterr().out
    assert [f"a/{i}.jpg and " in said for i in range(count)] == [i < 10 for i in range(count)]
    table = tmp_path / f"{kind}.csv"
    rest = f"warning: {count - 10} more pairs are the same image"
    assert (rest in said, str(table) in said) == ((count > 10,) * 2)
    with open(table, newline="") as file:
        assert list(csv.reader(file)) == [["image", "the_same_image"], *map(list, pairs)]


def test_where_no_image_is_there_twice_no_table_is_written(tmp_path):
    report_findings(tmp_path, dataset())
    assert list(tmp_path.iterdir()) == []


def test_a_name_with_line_breaks_is_said_on_one_line(tmp_path, capsys):
    report_findings(tmp_path, dataset(leaks=(("a/1\r.jpg", "b/\n2.jpg"),)))
    assert "'a/1\\r.jpg' and 'b/\\n2.jpg' are the same" in capsys.readouterr().out


def test_how_the_folder_was_read_is_said_first(tmp_path, capsys):
    report_findings(tmp_path, dataset(note="Left aside: test/"))
    assert capsys.readouterr().out.startswith("Left aside: test/\n5 training, ")


def test_the_order_of_numbers_is_said(tmp_path, capsys):
    numbered = dataclasses.replace(dataset(), classes=("0", "2", "10"))
    report_findings(tmp_path, numbered)
    expected = "test images of 0, 2, 10 (numbers, in the order of their values)\n"
    assert capsys.readouterr().out.endswith(expected)


def test_the_configuration_is_a_file_for_people_too(tmp_path):
    run_folder.save(tmp_path, Config(), {"classes": ["Bär"]})
    text = (tmp_path / "config.json").read_text(encoding="utf-8")
    assert "Bär" in text and '\n  "flags"' in text
    assert set(json.loads(text)) == {"flags", "facts", "made_by"}


@pytest.fixture
def begun(tmp_path, draw_images):
    """A data set of 24 training, 16 validation and 4 test images, and a run on it."""
    counts = {"train/ants": 12, "train/bees": 12, "validation/ants": 10, "validation/bees": 10}
    data = draw_images(tmp_path / "data", counts)
    workdir = tmp_path / "run"
    workdir.mkdir()

    def found(**flags):
        return open_dataset(Config(dataset=str(data), image_size=32, **flags), silent)

    run_folder.list_images(workdir, found())
    run = Saved(
        Config().to_json(), {"classes": ["ants", "bees"], "data_sha256": found().sha256}, {}
    )
    return data, workdir, run, found


def refusal(begun, **flags):
    _, workdir, run, found = begun
    with pytest.raises(UserError) as error:
        require_same_images(workdir, run, found(**flags))
    message = str(error.value)
    assert "\n" not in message and message.startswith(f"--workdir={workdir} holds a run of other")
    return message.split("now (")[1].split("): restore")[0]


def test_the_same_images_are_the_same_run(begun):
    _, workdir, run, found = begun
    require_same_images(workdir, run, found())


def test_each_image_that_differs_is_named_by_what_became_of_it(begun):
    data = begun[0]
    Image.new("RGB", (9, 9)).save(data / "train/ants/3.png")
    (data / "train/bees/5.png").unlink()
    (data / "train/bees/6.png").write_bytes(b"no image")
    Image.new("RGB", (8, 8)).save(data / "train/bees/more.png")
    assert refusal(begun, bad_images="skip") == (
        "changed: 'train/ants/3.png'; no longer readable: 'train/bees/6.png'; missing:"
        " 'train/bees/5.png'; new: 'train/bees/more.png'"
    )


def test_other_classes_are_named_as_such(begun):
    data, workdir, run, found = begun
    for part in ("train", "validation"):
        (data / part / "bees").rename(data / part / "wasps")
    with pytest.raises(UserError, match=r"differs in classes \(\['ants', 'bees'\] there, "):
        require_same_images(workdir, run, found())


def test_of_many_images_three_are_named_and_the_rest_is_counted(begun):
    for number in range(12):
        Image.new("RGB", (9, 9 + number)).save(begun[0] / f"train/ants/{number}.png")
    said = refusal(begun)
    assert said.startswith("changed: 'train/ants/") and said.endswith(" and 9 more")
    assert said.count("train/ants/") == 3


def test_an_image_that_another_one_moves_into_another_split_is_named(begun):
    data = begun[0]
    for number in range(30, 70):
        Image.new("RGB", (number, 9)).save(data / f"validation/ants/{number}.png")
    said = refusal(begun)
    assert said.startswith("new: 'validation/ants/") and "now in another split: 'vali" in said


@pytest.mark.parametrize("content", [None, b"", b"split,file,sha256\nx,y,z\n", b"a,b\n\xff"])
def test_without_the_list_of_a_run_it_is_said_that_the_images_differ(begun, content):
    data, workdir, _, _ = begun
    Image.new("RGB", (9, 9)).save(data / "train/ants/3.png")
    (workdir / "images.csv").unlink()
    if content is not None:
        (workdir / "images.csv").write_bytes(content)
    assert refusal(begun) == "which ones is not known, as images.csv there is missing or damaged"
