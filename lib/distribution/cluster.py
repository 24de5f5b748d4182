"""Who trains a run together: the addresses of all workers, and which of them this one is."""

import dataclasses
import json
import os
import re
from collections.abc import Mapping

from lib.errors import UserError, reason
from lib.system import slurm

GOES_ON = "the same command goes on, with any number of workers"
LOST = f"has ended or cannot be reached; {GOES_ON}"
_FORM = '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'


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
    if slurm.task_count(variables) > 1:
        return Cluster(*slurm.addresses(variables))
    return ALONE


def _from_tf_config(text: str) -> Cluster:
    try:
        found = json.loads(text)
        jobs, task = found.get("cluster", {}), found.get("task", {})
        if strange := {*jobs} - {"chief", "worker"}:
            raise ValueError(f"it has a job {min(strange)!r}")
        order = [(job, i) for job in ("chief", "worker") for i in range(len(jobs.get(job, ())))]
        addresses = tuple(str(jobs[job][i]) for job, i in order)
        for address in addresses:
            port = re.fullmatch(r".+:(\d{1,5})", address)
            if not port or int(port[1]) >= 2**16:
                raise ValueError(f"it has the address {address!r}")
        index = order.index((task["type"], int(task["index"]))) if addresses else 0
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"TF_CONFIG={text!r} cannot be read ({reason(error)}): expected {_FORM}"
        ) from None
    return Cluster(addresses, index) if len(addresses) > 1 else ALONE
