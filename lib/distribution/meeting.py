"""The workers meet before TensorFlow starts, which would wait for them without end.

Each tells the chief, over the chief's own address, what it is about to train. The chief compares,
and answers with what it knows of the run, or with what is wrong.
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Mapping
from typing import Any

from lib.distribution.cluster import ALONE, GOES_ON, LOST, Cluster
from lib.errors import UserError, last_line
from lib.system.deadline import ends_within
from lib.system.progress import say
from lib.system.sockets import call, listen, receive, send

JOINING = 600.0  # seconds for all to import TensorFlow and join, after they have met
_SAY_AFTER = 5.0  # seconds of waiting


class Meeting:
    """A worker's side of the meeting; the chief listens from the start on, so that none is missed.

    Attributes:
        cluster: all workers, and which this one is.

    Raises:
        UserError: the port of this worker's address is taken.
    """

    def __init__(self, cluster: Cluster = ALONE):
        self.cluster = cluster
        self._links: dict[socket.socket, str] = {}  # by which the others are seen to end
        if cluster.count == 1:
            return
        port = int(cluster.addresses[cluster.index].rpartition(":")[2])
        try:  # also where nobody will come: so it is free
            self._server = listen(port, cluster.count)
        except OSError as error:
            raise UserError(
                f"port {port} of {cluster.name(cluster.index)} is taken"
                f" ({os.strerror(error.errno)}): end what uses it, or give another address"
            ) from None
        if not cluster.chief:
            self._server.close()

    def hold(self, facts: Mapping[str, Any], known: Any, seconds: float) -> Any:
        """Waits for all, and makes sure that they train the same run.

        Args:
            facts: by name; must be the same for all workers.
            known: what the chief tells the others; JSON.
            seconds: to wait for those who have not come.

        Returns:
            What the chief knows.

        Raises:
            UserError: one did not come, or is about to train something else.
        """
        facts = json.loads(json.dumps(facts))
        if self.cluster.chief:
            with self._server:
                self._listen(facts, known, seconds)
            return known
        return self._tell(facts, seconds)

    def joining(self) -> contextlib.AbstractContextManager[None]:
        """Ends this process, with a line, where another ends or is late before all have joined."""
        if self.cluster.count == 1:
            return contextlib.nullcontext()
        lost = {link: last_line(f"{name} {LOST}") for link, name in self._links.items()}
        return ends_within(JOINING, last_line(f"another worker does not join; {GOES_ON}"), lost)

    def _listen(self, facts: dict[str, Any], known: Any, seconds: float) -> None:
        count, name, complaint = self.cluster.count, self.cluster.name, ""
        said, ends = time.monotonic() + _SAY_AFTER, time.monotonic() + seconds
        self._server.settimeout(0.2)
        come: dict[int, socket.socket] = {}
        while missing := ", ".join(name(i) for i in range(1, count) if i not in come):
            if time.monotonic() > ends:
                late = f"{count - 1 - len(come)} of {count} workers did not come: {missing}"
                complaint = complaint or late
                break
            if time.monotonic() > said:
                say(f"Waiting for {missing}")
                said = ends
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                link = self._server.accept()[0]
                link.settimeout(2)
                told = receive(link)
                difference = _difference(name(told["index"]), told["facts"], facts)
                come[told["index"]] = link
                if difference and not complaint:  # the others shall know, if they come soon
                    complaint, ends = difference, min(ends, time.monotonic() + 2)
        for link in come.values():
            with contextlib.suppress(OSError):
                send(link, {"error": complaint, "known": known})
        if complaint:
            raise UserError(complaint)
        self._links = {link: name(index) for index, link in come.items()}

    def _tell(self, facts: dict[str, Any], seconds: float) -> Any:
        chief = self.cluster.addresses[0]
        try:
            link = call(chief, seconds)
        except OSError as error:
            raise UserError(
                f"the chief at {chief} cannot be reached ({error.strerror or error}): start it, or"
                " correct its address"
            ) from None
        try:
            send(link, {"index": self.cluster.index, "facts": facts})
            answer = receive(link)  # until the chief answers, or ends
        except (OSError, ValueError):
            raise UserError(f"the chief at {chief} ended before all workers had come") from None
        if answer["error"]:
            raise UserError(answer["error"])
        self._links = {link: self.cluster.name(0)}
        return answer["known"]


def _difference(name: str, theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> str:
    """In what a worker differs from the chief; empty if in nothing."""
    differing = [key for key in {**mine, **theirs} if theirs.get(key) != mine.get(key)]
    listed = "; ".join(f"{key} {theirs.get(key)}, the chief {mine.get(key)}" for key in differing)
    return f"{name} trains something else: it has {listed}" if differing else ""
