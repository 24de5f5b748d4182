"""What SLURM tells each task of a step that its `srun` has started."""

import itertools
import re
from collections.abc import Mapping

from lib.errors import UserError

_PORT = 20000  # of the first task on a host, to which the job's own number is added
_PORTS = 20000


def task_count(variables: Mapping[str, str]) -> int:
    """How many tasks a step has; 1 for a script that has only been given nodes, and elsewhere."""
    return int(variables.get("SLURM_STEP_NUM_TASKS", "1"))


def addresses(variables: Mapping[str, str]) -> tuple[tuple[str, ...], int]:
    """An address for each task of a step in their order, as host:port, and which of them this is.

    Args:
        variables: nodes as `n[1-3,7],gpu2`, the tasks of each as `2(x3),1`, and more.

    Raises:
        UserError: one is missing or cannot be read.
    """
    try:
        hosts = expanded(variables["SLURM_STEP_NODELIST"])
        counts = []
        for each in variables["SLURM_STEP_TASKS_PER_NODE"].split(","):
            number, times = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", each).groups()
            counts += [int(number)] * int(times or 1)
        first = _PORT + int(variables["SLURM_JOB_ID"]) % _PORTS
        per_host = zip(hosts, counts, strict=True)
        found = tuple(f"{host}:{first + i}" for host, count in per_host for i in range(count))
        return found, int(variables["SLURM_PROCID"])
    except (ValueError, KeyError, AttributeError) as error:
        raise UserError(
            f"the variables of SLURM cannot be read ({error!r}): start the workers with srun and"
            " its distribution by blocks, or give each a TF_CONFIG"
        ) from None


def expanded(text: str) -> list[str]:
    """The hosts that a short form stands for: `n[08-10],a` is n08, n09, n10 and a."""
    hosts = []
    for part in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", text):
        pieces = enumerate(re.split(r"\[([^\]]*)\]", part))  # plain text and ranges by turns
        choices = [_range(piece) if i % 2 else [piece] for i, piece in pieces]
        hosts += map("".join, itertools.product(*choices))
    return hosts


def _range(text: str) -> list[str]:
    numbers = []
    for each in text.split(","):
        first, _, last = each.partition("-")
        numbers += [f"{n:0{len(first)}d}" for n in range(int(first), int(last or first) + 1)]
    return numbers
