"""Work that is done ahead of its use."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Argument = TypeVar("Argument")
Result = TypeVar("Result")

_AHEAD = 2  # results computed at once: what is one after the other in one is side by side in two


def ahead(
    function: Callable[[Argument], Result], arguments: Iterable[Argument]
) -> Iterator[Result]:
    """Like `map`, but threads compute the next two results while the last one is in use.

    Args:
        function: is called by several threads at once.
        arguments: taken one by one, by the caller's own thread, as results are asked for.
    """
    arguments = iter(arguments)
    with ThreadPoolExecutor(_AHEAD, "ahead") as workers:
        waiting = deque(workers.submit(function, a) for a in itertools.islice(arguments, _AHEAD))
        try:
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(workers.submit(function, a) for a in itertools.islice(arguments, 1))
                yield result
        finally:
            for future in waiting:
                future.cancel()
