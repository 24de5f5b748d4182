"""Who trains a run together: the addresses of all workers, and which of them this one is."""

import dataclasses
import json
import os
import re
from collections.abc import Mapping

from lib.errors import UserError

_FORM = '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
_PORT = 20000  # of the first worker of a SLURM job, to which the job's own number is added
_PORTS = 20000


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The workers of a run in their order, of which the first is the chief.

    Attributes:
        addresses: of all, as host:port.
        index: of this one.
    """

    addresses: tuple[str, ...] = ("",)
    index: int = 0

    @property
    def count(self) -> int:
        """How many workers there are."""
        return len(self.addresses)

    @property
    def chief(self) -> bool:
        """Whether this one holds the run's folder, and alone writes and says how it goes."""
        return self.index == 0

    def name(self, index: int) -> str:
        """A worker in words."""
        return f"worker {index} ({self.addresses[index]})"

    def tf_config(self) -> str:
        """What TensorFlow reads from the variable TF_CONFIG."""
        task = {"type": "worker", "index": self.index}
        return json.dumps({"cluster": {"worker": self.addresses}, "task": task})


ALONE = Cluster()


def from_environment(variables: Mapping[str, str] = os.environ) -> Cluster:
    """The workers that a cluster manager has started: by TF_CONFIG, else by SLURM's `srun`.

    Raises:
        UserError: a variable cannot be read.
    """
    if text := variables.get("TF_CONFIG"):
        return _from_tf_config(text)
    # Set by `srun` for each task of a step, and not for a script that has only been given nodes.
    if int(variables.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        return _from_slurm(variables)
    return ALONE


def _from_tf_config(text: str) -> Cluster:
    try:
        found = json.loads(text)
        jobs, task = found.get("cluster", {}), found.get("task", {})
        order = [(job, i) for job in ("chief", "worker") for i in range(len(jobs.get(job, ())))]
        addresses = tuple(str(jobs[job][i]) for job, i in order)
        index = order.index((task["type"], int(task["index"]))) if addresses else 0
        strange = sorted({*jobs} - {"chief", "worker"})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"TF_CONFIG={text!r} cannot be read ({error!r}): expected {_FORM}"
        ) from None
    if strange:
        raise UserError(f"TF_CONFIG has a job {strange[0]!r}: expected workers alone, as {_FORM}")
    for address in addresses:
        if not re.fullmatch(r".+:\d{1,5}", address):
            raise UserError(f"TF_CONFIG has the address {address!r}: expected host:port")
    return Cluster(addresses, index) if len(addresses) > 1 else ALONE


def _from_slurm(variables: Mapping[str, str]) -> Cluster:
    """SLURM's variables: nodes as `n[1-3,7],gpu2`, tasks of each as `2(x3),1`."""
    try:
        hosts = expanded_hosts(variables["SLURM_STEP_NODELIST"])
        tasks = []
        for each in variables["SLURM_STEP_TASKS_PER_NODE"].split(","):
            number, times = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", each).groups()
            tasks += [int(number)] * int(times or 1)
        first = _PORT + int(variables["SLURM_JOB_ID"]) % _PORTS
        per_host = zip(hosts, tasks, strict=True)
        addresses = [f"{host}:{first + i}" for host, number in per_host for i in range(number)]
        return Cluster(tuple(addresses), int(variables["SLURM_PROCID"]))
    except (ValueError, KeyError, AttributeError) as error:
        raise UserError(
            f"the variables of SLURM cannot be read ({error!r}): start the workers with srun and"
            " its distribution by blocks, or give each a TF_CONFIG"
        ) from None


def expanded_hosts(text: str) -> list[str]:
    """The names that SLURM's short form stands for: `n[08-10],a` is n08, n09, n10 and a."""
    hosts = []
    for part in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", text):
        names = [""]
        for plain, ranges in re.findall(r"([^\[]+)|\[([^\]]*)\]", part):
            names = [name + end for name in names for end in ([plain] if plain else _range(ranges))]
        hosts += names
    return hosts


def _range(text: str) -> list[str]:
    numbers = []
    for each in text.split(","):
        first, _, last = each.partition("-")
        numbers += [f"{n:0{len(first)}d}" for n in range(int(first), int(last or first) + 1)]
    return numbers
