"""The workers of a run, joined: what each has is gathered, in their order, on all of them.

`tf.distribute` is used for this one thing. Variables are each process's own; all workers apply the
same update to the same numbers, so Keras never sees the strategy.
"""

import contextlib
import hashlib
import os
import pickle
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2

# TensorFlow has no public place for how soon a lost worker is noticed.
from tensorflow.python.eager import context

from lib.distribution.cluster import ALONE, GOES_ON, LOST, Cluster
from lib.distribution.meeting import JOINING
from lib.errors import UserError, reason

_HEARTBEAT = 5.0  # seconds after which TensorFlow takes a silent worker for lost
_PATIENCE = 8.0  # seconds that a worker may be late


class Workers:
    """The workers of a run, and this one's place among them.

    To be made before TensorFlow computes anything. Every method that gathers must be called by all
    workers, in the same order.

    Args:
        cluster: all workers, which have met.
        requested: gives the number of the signal that asked this worker to stop; 0 for none.
        agreed: told, after each exchange, the number of a signal that any worker has received.
        give_up: ends the process with a line, from any thread, where a worker does not answer.

    Raises:
        UserError: TensorFlow cannot join them.
    """

    def __init__(
        self,
        cluster: Cluster = ALONE,
        requested: Callable[[], int] = lambda: 0,
        agreed: Callable[[int], None] = lambda number: None,
        give_up: Callable[[str], None] = lambda line: None,
    ):
        self._cluster = cluster
        self.index, self.count, self.chief = cluster.index, cluster.count, cluster.chief
        self._requested, self._agreed, self._give_up = requested, agreed, give_up
        self._in_step, self._longest = False, 0.0  # of the bounded waits so far
        if self.count > 1:
            self._connect()

    def _connect(self) -> None:
        os.environ["TF_CONFIG"] = self._cluster.tf_config()
        job = coordination_config_pb2.CoordinatedJob(name="worker", num_tasks=self.count)
        # The strategy leaves alone what is configured already.
        context.context().configure_coordination_service(
            service_type="standalone",
            service_leader="/job:worker/replica:0/task:0",
            heartbeat_timeout_in_ms=int(1000 * _HEARTBEAT),
            cluster_register_timeout_in_ms=int(1000 * JOINING),
            coordinated_jobs=[job],
        )
        try:
            strategy = tf.distribute.MultiWorkerMirroredStrategy()
        except (RuntimeError, tf.errors.OpError) as error:
            why = reason(error).partition(". ")[0]  # all of it is a screenful
            raise UserError(f"TensorFlow cannot join the workers: {why}") from error
        replica = tf.distribute.get_replica_context

        def exchange(function: Callable[[tf.Tensor], tf.Tensor]) -> tf.types.experimental.Callable:
            # Without `identity`: "destinations can not be empty".
            run = lambda row: strategy.run(lambda row: function(tf.identity(row)), (row,))  # noqa: E731
            return tf.function(run, [tf.TensorSpec((1, None))], autograph=False)

        self._all_gather = exchange(lambda row: replica().all_gather(row, axis=0))
        self._all_reduce = exchange(lambda row: replica().all_reduce("SUM", row))

    @contextlib.contextmanager
    def in_step(self) -> Iterator[None]:
        """For as long as the block lasts, all workers come to each exchange at about one time.

        One that does not is taken for lost, though TensorFlow may see it alive.
        """
        self._in_step = True
        try:
            yield
        finally:
            self._in_step = False

    def gather(self, row: tf.Tensor, bounded: bool = True) -> tf.Tensor:
        """What every worker has, in their order: float32 [k] to [workers, k].

        A request to stop travels with it, so that all workers stop at the same place.

        Args:
            row: of the same length on all.
            bounded: whether the others come soon where the workers are `in_step`.

        Raises:
            UserError: a worker is lost; this holds for all exchanges.
        """
        if self.count == 1:
            return row[tf.newaxis]
        stop = tf.constant([float(self._requested())])
        with self._watched(bounded):
            rows = self._all_gather(tf.concat([row, stop], 0)[tf.newaxis])
            self._agreed(int(tf.reduce_max(rows[:, -1])))
        return rows[:, :-1]

    def reduce(self, row: tf.Tensor) -> tf.Tensor:
        """The sum of what the workers have, float32 [k], in an order that TensorFlow chooses."""
        with self._watched():
            return self._all_reduce(row[tf.newaxis])[0]

    def wait(self) -> None:
        """Waits until all have come here, however long one takes: the chief may write."""
        self.gather(tf.zeros(0), bounded=False)

    def from_chief(self, content: bytes) -> bytes:
        """The chief's bytes, on every worker; what the others give does not matter."""
        if self.count == 1:
            return content
        of_all = self._gather_bytes(len(content).to_bytes(8, "little"))
        length = int.from_bytes(of_all[0], "little")
        padded = (content if self.chief else b"").ljust(length + -length % 4, b"\0")
        return self._gather_bytes(padded)[0][:length]

    def _gather_bytes(self, content: bytes) -> list[bytes]:
        """What every worker has, of the same length on all, which four divides."""
        # As bits of float32, which every kind of exchange takes, on a GPU too.
        row = tf.constant(np.frombuffer(content, np.float32))
        return [each.tobytes() for each in self.gather(row, bounded=False).numpy()]

    def assign_from_chief(self, variables: Sequence[Any]) -> None:
        """Gives variables the values that the chief's have."""
        if self.count == 1:
            return
        values = [each.numpy() for each in variables] if self.chief else []
        # Who can send other bytes than the chief's can have TensorFlow do anything by itself.
        values = pickle.loads(self.from_chief(pickle.dumps(values)))
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    def require_same(self, facts: Mapping[str, Any]) -> None:
        """Makes sure that something is the same for all workers.

        Args:
            facts: what has a `repr`, by name.

        Raises:
            UserError: it is not.
        """
        if self.count == 1:
            return
        for name, fact in facts.items():
            digests = self._gather_bytes(hashlib.sha256(repr(fact).encode()).digest())
            for worker, digest in enumerate(digests):
                if digest != digests[0]:
                    raise UserError(
                        f"{self._cluster.name(worker)} has other {name} than the chief"
                        f" ({self._cluster.addresses[0]}): they must be the same to the last bit"
                    )

    @contextlib.contextmanager
    def _watched(self, bounded: bool = True) -> Iterator[None]:
        """Names who is lost in an exchange, and bounds it in time where all are in step."""
        bounded, began = bounded and self._in_step, time.monotonic()
        line = f"another worker does not answer; {GOES_ON}"
        late = threading.Timer(max(_PATIENCE, 10 * self._longest), self._give_up, [line])
        late.daemon = True
        if bounded:
            late.start()
        try:
            yield
        except tf.errors.OpError as error:
            lost = re.search(r"worker/replica:0/task:(\d+)", str(error))
            name = self._cluster.name(int(lost[1])) if lost else "another worker"
            raise UserError(f"{name} {LOST}") from error
        finally:
            late.cancel()
        if bounded:
            self._longest = max(self._longest, time.monotonic() - began)


# A process that trains by itself.
SINGLE = Workers()
