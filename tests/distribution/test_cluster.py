import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from lib.config import Config, require_workers
from lib.distribution.cluster import ALONE, Cluster, from_environment
from lib.errors import UserError


def tf_config(task, **cluster):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}


def test_without_a_cluster_manager_a_process_is_alone():
    assert from_environment({}) == ALONE and ALONE.chief and ALONE.count == 1
    one = tf_config({"type": "worker", "index": 0}, worker=["a:1"])
    assert from_environment(one) == ALONE


def test_a_chief_of_tf_config_comes_first():
    jobs = {"worker": ["b:2", "c:3"], "chief": ["a:1"]}
    found = from_environment(tf_config({"type": "worker", "index": 1}, **jobs))
    assert found == Cluster(("a:1", "b:2", "c:3"), 2) and not found.chief
    assert from_environment(tf_config({"type": "chief", "index": 0}, **jobs)).chief


def test_workers_are_told_to_tensorflow_in_their_order():
    cluster = Cluster(("a:1", "b:2"), 1)
    assert from_environment({"TF_CONFIG": cluster.tf_config()}) == cluster


DOCS = Path(__file__).parents[2] / "docs"


def test_the_job_for_kubernetes_gives_each_worker_its_place():
    exported = re.search(r"export TF_CONFIG=.*", (DOCS / "workers.yaml").read_text())[0]
    for index in range(4):
        shell = ["sh", "-c", exported + '; printf %s "$TF_CONFIG"']
        variables = os.environ | {"JOB_COMPLETION_INDEX": str(index)}
        told = subprocess.run(shell, env=variables, capture_output=True, text=True, check=True)
        cluster = from_environment({"TF_CONFIG": told.stdout})
        assert cluster.index == index and cluster.addresses[3] == "thaw-3.thaw:2222"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}', "read"),
        ('{"cluster": {"worker": ["a:1", "b"]}, "task": {"type": "worker", "index": 0}}', "'b'"),
        ('{"cluster": {"worker": ["a:1", "b:70000"]}, "task": {}}', "the address 'b:70000'"),
        ('{"cluster": {"ps": ["a:1"], "worker": ["b:1"]}, "task": {}}', "a job 'ps'"),
    ],
)
def test_a_variable_that_cannot_be_read_is_one_line(text, message):
    with pytest.raises(UserError, match=message) as caught:
        from_environment({"TF_CONFIG": text})
    assert "\n" not in str(caught.value)


def test_the_tasks_of_a_step_of_slurm_are_the_workers():
    variables = {
        "SLURM_STEP_NUM_TASKS": "5",
        "SLURM_STEP_NODELIST": "n[9-10],m",
        "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
        "SLURM_JOB_ID": "1000007",
        "SLURM_PROCID": "3",
    }
    found = from_environment(variables)
    hosts = ["n9", "n9", "n10", "n10", "m"]
    ports = [20007, 20008, 20007, 20008, 20007]
    assert found.addresses == tuple(f"{h}:{p}" for h, p in zip(hosts, ports, strict=True))
    assert found.index == 3
    strange = ({"SLURM_STEP_NODELIST": "n[a-b]"}, {"SLURM_STEP_TASKS_PER_NODE": "2 each"})
    for each in (*strange, {"SLURM_STEP_NODELIST": "too,many,of,them"}, {"SLURM_JOB_ID": ""}):
        with pytest.raises(UserError, match="the variables of SLURM cannot be read"):
            from_environment(variables | each)
    del variables["SLURM_STEP_NODELIST"]
    with pytest.raises(UserError, match="SLURM"):
        from_environment(variables)


@pytest.mark.parametrize("count", [3, 8])
def test_workers_among_whom_slices_cannot_be_shared_out_are_refused(count):
    with pytest.raises(UserError, match=rf"--workers={count}: .*--slices=4: 1, 2, 4"):
        require_workers(Config(slices=4), count)
    require_workers(Config(slices=4), 4)
