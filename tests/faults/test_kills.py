"""A process that is killed leaves a run that ends in the same bits."""

import random

from lib.system.atomic import is_temporary
from tests.faults.program import Outcome
from tests.http_server import Answer, serving

BEFORE_TRAINING = (
    "download@2",
    "unpack@1500",
    "unpacked",
    "fetched",
    "decode@5",
    "write:*.json.gz",
    "write:images.csv",
    "write:config.json",
)
WHILE_TRAINING = (
    "checkpoints:data",  # before the first checkpoint counts
    "checkpoints:data@2",  # in the middle of an epoch
    "write:history.csv@2",
    "write:curves.png",
    "best:data",
    "best:manifest",
    "head:manifest",  # the head is finished, but no checkpoint knows it
    "phase:finetune",
    "step@2",
    "checkpoints:manifest@2",
    "tensorboard",  # while the summaries are cut back to the checkpoint
    "evaluation@4",
    "outcome",
    "write:result.json",
)


def test_killed_at_each_of_these_places_in_turn_a_run_ends_in_the_same_bits(reference, tmp_path):
    workdir = tmp_path / "run"
    with serving(Answer(reference.archive)) as server:
        program = reference.program.with_flags(
            f"--data_dir={tmp_path / 'data'}", f"--dataset_url={server.url}"
        )
        for place in (*BEFORE_TRAINING, *WHILE_TRAINING):
            ended = program.run(workdir, fault=place)
            assert ended.code == -9, f"{place}: {ended.stdout}{ended.stderr}"
        program.finish(workdir)
    assert Outcome.of(workdir) == reference.outcome
    assert [path for path in workdir.rglob("*") if is_temporary(path)] == []


def test_killed_anywhere_a_run_ends_in_the_same_bits(reference, tmp_path):
    # The images are there and decoded already, so that less is done than by the reference.
    places = [
        place
        for place in reference.places[reference.places.index("tensorflow") :]
        if place != "decode" and not place.endswith(".json.gz")
    ]
    arrival = random.Random(0).randint(1, len(places))
    ended = reference.program.run(tmp_path, fault=f"*@{arrival}")
    assert ended.code == -9
    reference.program.finish(tmp_path)
    assert Outcome.of(tmp_path) == reference.outcome
