"""Fine-tuning that starts from another run's head."""

import dataclasses
import json
import shutil

import pytest

from lib.config import Config
from lib.errors import UserError
from lib.model.architecture import open_kept
from lib.model.network import build
from lib.runs.folder import saved
from lib.runs.resume import other_run
from tests.faults.program import Outcome, history

CLASSES = ["cats", "dogs"]


@pytest.fixture(scope="module")
def network(reference):
    """A network as that of the reference, with other weights of its head."""
    backbone, scaling = open_kept(reference.folder)
    return build(backbone, len(CLASSES), dropout=0.2, seed=1, scaling=scaling)


def test_it_begins_where_the_head_ended_and_needs_the_other_run_no_more(reference, tmp_path):
    source, workdir = tmp_path / "source", tmp_path / "run"
    shutil.copytree(reference.folder, source)
    program = reference.program.with_flags(f"--from_run={source}", "--finetune_epochs=1")
    undisturbed = tmp_path / "undisturbed"
    program.finish(undisturbed)
    assert program.run(workdir, fault="step@3").code == -9
    shutil.rmtree(source)
    assert "Resuming at step 2" in program.finish(workdir)
    assert Outcome.of(workdir) == Outcome.of(undisturbed)

    end_of_head = reference.outcome.history[2]
    start = history(workdir)[1]
    assert start[:3] == ("0", "start", "0")
    assert start[-2:] == end_of_head[-2:]  # loss and accuracy on the validation images
    assert [row[1] for row in history(workdir)[2:]] == ["finetune"]
    saved = json.loads((workdir / "config.json").read_text())
    assert saved["flags"]["from_run"] == str(source)
    assert len(saved["facts"]["from_sha256"]) == 64


def config(reference, **others) -> Config:
    """A run like the reference that begins with its head, but for some flags."""
    flags = {"from_run": str(reference.folder), "workdir": "elsewhere"} | others
    return dataclasses.replace(saved(reference.folder).config, **flags)


def test_a_head_gives_its_weights_and_their_digest(reference, network):
    before = network.head.kernel.numpy()
    found = other_run(network, config(reference), CLASSES, None)
    assert not (network.head.kernel.numpy() == before).all()
    assert len(found["from_sha256"]) == 64


def test_a_run_without_another_has_no_such_digest(network):
    assert other_run(network, Config(), CLASSES, None) == {"from_sha256": None}


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"backbone": "resnet50"}, "has backbone .*tiny.keras, and this run resnet50"),
        ({"image_size": 64}, "has image_size 32, and this run 64"),
    ],
)
def test_a_head_of_another_network_is_refused(reference, network, changed, complaint):
    with pytest.raises(UserError, match=complaint):
        other_run(network, config(reference, **changed), CLASSES, None)


def test_a_head_for_other_classes_is_refused(reference, network):
    with pytest.raises(UserError, match=r"has classes \['cats', 'dogs'\], and this run"):
        other_run(network, config(reference), ["ants", "bees"], None)


def test_a_run_does_not_start_from_itself(reference, network):
    own = Config(from_run=str(reference.folder), workdir=str(reference.folder))
    with pytest.raises(UserError, match="is this run's own --workdir"):
        other_run(network, own, CLASSES, None)


def test_a_folder_without_a_run_is_refused(reference, network, tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        other_run(network, config(reference, from_run=str(tmp_path)), CLASSES, None)


def test_a_run_whose_head_is_not_finished_is_refused(reference, network, tmp_path):
    shutil.copy(reference.folder / "config.json", tmp_path)
    with pytest.raises(
        UserError, match=r"has not finished its phase 'head' \(finished: none\): train it first"
    ):
        other_run(network, config(reference, from_run=str(tmp_path)), CLASSES, None)
