"""The workers of a run on one machine: one starts the others, and they end with it."""

import atexit
import os
import signal
from collections.abc import Callable, Sequence

from lib.config import setting
from lib.distribution.cluster import Cluster, from_environment
from lib.errors import UserError
from lib.system import progress
from lib.system.children import Children, when_parent_ends
from lib.system.sockets import free_addresses

_LAUNCHED = "THAW_LAUNCHED"
_GRACE = 2.0  # seconds in which a worker may say by itself why it ends

# Told why the process must end, and its exit code; from any thread.
GiveUp = Callable[[str, int], None]


class Launcher:
    """This process among the workers of a run, and those that it has started itself.

    Attributes:
        count: of all workers.
    """

    def __init__(self):
        self.count = 1
        self._others = Children(_GRACE)

    def join(self, count: int, command: Sequence[str], give_up: GiveUp) -> Cluster:
        """Finds the workers that a cluster manager has started, or starts them on this machine.

        All but the chief fall silent.

        Args:
            count: of workers that are asked for; 1 for those that there are.
            command: that starts a worker.
            give_up: called when another ends too early.

        Raises:
            UserError: there are others than are asked for.
        """
        cluster = from_environment()
        if count > 1 and cluster.count == 1:
            cluster = Cluster(tuple(free_addresses(count)))
            self._launch(cluster, command, give_up)
        if count not in (1, cluster.count):
            raise UserError(
                f"{setting('workers', count)}: a cluster manager has started {cluster.count};"
                " leave it out"
            )
        self.count = cluster.count
        if cluster.count > 1:  # TensorFlow's own words on a lost worker are many
            os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        if os.environ.pop(_LAUNCHED, ""):
            line = "the worker that started this one has ended"
            when_parent_ends(lambda: give_up(line, 1), _GRACE / 2)
        elif not cluster.chief:
            progress.say(f"{cluster.name(cluster.index)}: the chief, {cluster.name(0)}, says more")
        if not cluster.chief:
            progress.mute()
        return cluster

    def end(self) -> None:
        """Waits for the others to end, and kills those that do not in time."""
        # Any others fetch from here what was exchanged last.
        self._others.end(stay=_GRACE / 2 if self.count > 1 else 0.0)

    def _launch(self, cluster: Cluster, command: Sequence[str], give_up: GiveUp) -> None:
        """Starts the others; of a machine's GPUs, each gets one."""
        atexit.register(self.end)
        gpus = [each for each in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if each]
        variables = {}
        for index in range(1, cluster.count):
            own = {"TF_CONFIG": Cluster(cluster.addresses, index).tf_config(), _LAUNCHED: "1"}
            if gpus:
                own["CUDA_VISIBLE_DEVICES"] = gpus[index % len(gpus)]
            variables[f"worker {index}"] = own

        def ended(name: str, how: str, code: int) -> None:
            stopped = code in (128 + signal.SIGINT, 128 + signal.SIGTERM)
            give_up(f"{name} has ended ({how})", code if stopped else 1)

        self._others.start(command, variables, ended)
        if gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = gpus[0]
