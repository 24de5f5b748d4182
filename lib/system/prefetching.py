"""Prefetching: results are computed ahead of their use."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Argument = TypeVar("Argument")
Result = TypeVar("Result")


def prefetched(
    function: Callable[[Argument], Result],
    arguments: Iterable[Argument],
    results: int = 2,
    threads: int = 2,
) -> Iterator[Result]:
    """Like `map`, but threads compute the next results while the last one is in use.

    Args:
        function: is called by several threads at once.
        arguments: taken one by one, by the caller's own thread, as results are asked for.
        results: how many are computed, or wait, while another is in use, at least one. By default
            two: one alone would leave processors idle wherever one thread does a part of it.
        threads: that compute.
    """
    arguments = iter(arguments)
    with ThreadPoolExecutor(threads, "prefetch") as workers:
        waiting = deque(workers.submit(function, a) for a in itertools.islice(arguments, results))
        try:
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(workers.submit(function, a) for a in itertools.islice(arguments, 1))
                yield result
        finally:
            for future in waiting:
                future.cancel()


def begun(
    function: Callable[[Argument], Result], arguments: Iterable[Argument], threads: int = 2
) -> Iterator[Result]:
    """Like `map`, but threads begin at once and go on to the end; results wait until they are used.

    Args:
        function: is called by several threads at once.
        arguments: all of them are taken now.
        threads: that compute.
    """
    workers = ThreadPoolExecutor(threads, "begun")
    futures = [workers.submit(function, each) for each in arguments]
    workers.shutdown(wait=False)

    def results() -> Iterator[Result]:
        try:
            for future in futures:
                yield future.result()
        finally:
            for future in futures:
                future.cancel()

    return results()
