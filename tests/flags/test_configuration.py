import dataclasses
import re
from pathlib import Path

import pytest
from absl import flags as absl_flags

import flags
from lib.config import Config, require_workers, resolved

PROGRAM = "train.py"


@pytest.fixture(autouse=True)
def unparsed():
    """Each test parses for itself."""
    absl_flags.FLAGS.unparse_flags()
    yield
    flags.phases.define([])
    for name in absl_flags.FLAGS:
        absl_flags.FLAGS[name].unparse()
    absl_flags.FLAGS.unparse_flags()


def configuration(*arguments, run=None):
    flags.parse([PROGRAM, *arguments])
    return flags.configuration(run)


def refusal(capsys, *arguments):
    """The line that a wrong command line gets."""
    with pytest.raises(SystemExit) as exit:
        flags.parse([PROGRAM, *arguments])
    assert exit.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    return printed.err


def test_no_flags_give_the_defaults():
    assert configuration() == resolved(Config())


def test_each_field_of_the_configuration_is_a_flag_with_its_default():
    flags.parse([PROGRAM])
    for name, default in Config().to_json().items():
        assert absl_flags.FLAGS[name].value == default, name


def test_each_flag_reaches_the_field_of_its_name():
    found = configuration(
        "--seed=7", "--batch_size=8", "--alpha=0.35", "--dataset=drawn", "--head_schedule=cosine",
        "--finetune_learning_rate=3e-6", "--train_limit=50", "--skip_nonfinite",
    )  # fmt: skip
    assert (found.seed, found.batch_size, found.alpha, found.dataset) == (7, 8, 0.35, "drawn")
    head, finetune = found.phases
    assert (head.schedule, finetune.learning_rate) == ("cosine", 3e-6)
    assert (found.train_limit, found.eval_limit, found.skip_nonfinite) == (50, None, True)


@pytest.mark.parametrize(
    ("given", "expected"), [("100", 100), ("0", 0), ("block_13_expand", "block_13_expand")]
)
def test_the_first_trained_layer_is_a_number_or_a_name(given, expected):
    assert configuration(f"--fine_tune_at={given}").phase("finetune").thaw == expected
    assert configuration(f"--finetune_thaw={given}").phase("finetune").thaw == expected


@pytest.mark.parametrize(
    ("given", "size", "thaw"),
    [
        (["--backbone=inception_v3"], 299, "35%"),
        (["--backbone=inception_v3", "--image_size=96", "--fine_tune_at=3"], 96, 3),
        (["--backbone=mobilenet_v2(alpha=0.35)"], 160, 100),
    ],
)
def test_a_backbone_brings_the_size_of_its_images_and_what_fine_tuning_thaws(given, size, thaw):
    found = configuration(*given)
    assert (found.image_size, found.phase("finetune").thaw) == (size, thaw)
    assert found.phase("head").thaw == "none"


def test_a_file_as_the_backbone_is_remembered_by_its_full_path_and_has_weights_of_its_own():
    found = configuration("--backbone=~/mine.keras")
    assert found.backbone == str(Path.home() / "mine.keras")
    assert (found.weights, found.image_size) == ("own", 160)


def test_each_phase_that_is_named_has_flags_of_its_own(tmp_path):
    head, top, whole = configuration(
        "--phases=head,top,all", "--top_thaw=35%", "--all_thaw=all", "--all_patience=2"
    ).phases
    assert (head.thaw, top.thaw, whole.thaw) == ("none", "35%", "all")
    assert (top.patience, whole.patience) == (0, 2)


def test_phases_are_found_in_a_preset_and_the_last_list_prevails(tmp_path):
    preset = tmp_path / "gradual.cfg"
    preset.write_text("--phases=head,top\n--top_epochs=3\n")
    assert [p.name for p in configuration(f"--flagfile={preset}").phases] == ["head", "top"]
    found = configuration(f"--flagfile={preset}", "--phases", "top,last", "--last_epochs=1")
    assert [(p.name, p.epochs) for p in found.phases] == [("top", 3), ("last", 1)]


def test_flags_of_phases_that_are_not_named_there_are_not(capsys):
    configuration("--phases=head,top")
    assert "finetune_epochs" in refusal(capsys, "--phases=head,top", "--finetune_epochs=1")
    assert "fine_tune_at" in refusal(capsys, "--phases=head,top", "--fine_tune_at=1")


def test_a_misspelt_flag_of_a_phase_gets_a_suggestion(capsys):
    assert "top_epochs" in refusal(capsys, "--phases=head,top", "--top_epoch=1")


def test_the_phases_of_a_run_stand_where_none_are_given():
    run = resolved(Config().with_flags(phases=["top", "all"], top_epochs=3, all_thaw="all"))
    assert configuration(run=run).phases == run.phases
    found = configuration("--phases=top", "--top_optimizer=sgd", run=run)
    assert found.phases == (dataclasses.replace(run.phases[0], optimizer="sgd"),)


def test_a_phase_can_be_the_last_one_to_be_trained():
    configuration("--phases=head,top", "--phase=top")
    configuration("--phases=head,top", "--find_rate=top")
    configuration("--phase=evaluate")


def test_plugins_add_up():
    found = configuration("--plugin=/a.py", "--plugin=/b.py")
    assert found.plugin == ("/a.py", "/b.py")


def test_help_lists_flags_and_what_the_registries_hold(capsys):
    with pytest.raises(SystemExit) as exit:
        flags.parse([PROGRAM, "--phases=head,top", "--help"])
    assert exit.value.code == 0
    printed = capsys.readouterr().out
    for each in ("--top_thaw", "--augment", "rotate(", "cross_entropy(label_smoothing", "cosine("):
        assert each in printed


def test_flags_that_are_not_given_are_those_of_the_run():
    run = resolved(Config(seed=5, alpha=0.35, dataset="drawn", workdir="runs/mine"))
    assert configuration("--batch_size=8", run=run) == dataclasses.replace(run, batch_size=8)


def test_a_flag_that_is_given_counts_though_it_is_the_default():
    assert configuration("--seed=0", run=Config(seed=5)).seed == 0


def test_a_preset_is_a_file_of_flags_and_what_comes_after_it_prevails(tmp_path):
    (tmp_path / "mine.cfg").write_text("# a comment\n--seed=3\n--alpha=0.35\n")
    found = configuration(f"--flagfile={tmp_path / 'mine.cfg'}", "--seed=4")
    assert (found.seed, found.alpha) == (4, 0.35)


@pytest.mark.parametrize("preset", sorted(Path(flags.__file__).parent.glob("*.cfg")))
def test_every_preset_can_be_parsed(preset):
    assert configuration(f"--flagfile={preset}") != resolved(Config())


WRONG = {
    "an unknown flag": ["--learning_rate=1"],
    "a negative rate": ["--head_learning_rate=-1"],
    "a rate of zero": ["--finetune_learning_rate=0"],
    "a rate that is no number": ["--head_learning_rate=nan"],
    "an infinite rate": ["--head_learning_rate=inf"],
    "a rate in words": ["--head_learning_rate=fast"],
    "no images a step": ["--batch_size=0"],
    "images too small": ["--image_size=31"],
    "a source smaller than what is seen": ["--source_size=158"],
    "a middle between pixels": ["--source_size=201"],
    "a source smaller than another network's images": ["--source_size=200", "--backbone=resnet50"],
    "negative epochs": ["--head_epochs=-1"],
    "half an epoch": ["--head_epochs=1.5"],
    "dropping all": ["--dropout=1"],
    "a width of zero": ["--alpha=0"],
    "an unknown phase": ["--phase=test"],
    "a phase twice": ["--phases=head,head"],
    "no phase": ["--phases="],
    "a phase with another meaning": ["--phases=evaluate"],
    "patience in a phase of no epochs": ["--head_patience=1", "--head_epochs=0"],
    "negative patience": ["--head_patience=-1"],
    "a layer decay of zero": ["--head_layer_decay=0"],
    "a layer decay above one": ["--head_layer_decay=1.1"],
    "an average of itself alone": ["--ema=1"],
    "a rate for an unknown phase": ["--find_rate=top"],
    "an unknown engine": ["--engine=fast"],
    "a limit of zero": ["--train_limit=0"],
    "a negative seed": ["--seed=-1"],
    "one checkpoint only": ["--keep_checkpoints=1"],
    "a word too many": ["finetune"],
    "a missing preset": ["--flagfile=/nowhere/at/all.cfg"],
}


@pytest.mark.parametrize("arguments", WRONG.values(), ids=WRONG)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(arguments, capsys):
    line = refusal(capsys, *arguments)
    assert line.startswith("train.py: error: ") and "--help" in line
    name = arguments[0].removeprefix("--").partition("=")[0]
    assert name in line or arguments[0].partition("=")[2] in line


@pytest.mark.parametrize("flag", ["--help", "--helpshort", "--helpfull"])
def test_help_is_no_failure(flag, capsys):
    with pytest.raises(SystemExit) as left:
        flags.parse([PROGRAM, flag])
    assert left.value.code == 0 and "--dataset" in capsys.readouterr().out


def test_a_misspelt_flag_gets_a_suggestion(capsys):
    assert "batch_size" in refusal(capsys, "--batchsize=3")


@pytest.mark.parametrize("file", ["workers.sbatch", "workers.yaml"])
def test_the_jobs_that_are_shown_give_flags_that_there_are(file):
    text = (Path(__file__).parents[2] / "docs" / file).read_text()
    text = text.replace("\\\n", " ").replace('"$SLURM_CPUS_PER_TASK"', "8")
    config = configuration(*re.search(r"train\.py (.*)", text)[1].split())
    require_workers(config, 4)
    assert config.batch_size == 128 and config.workdir.endswith("/runs/pets")
