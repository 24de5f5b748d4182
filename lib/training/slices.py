"""A global batch in slices, and the order in which what they give is summed.

A slice is computed by itself, by the same function for every slice, so that its bits depend neither
on who computes it nor on what is computed beside it. The sum over slices is a binary tree over
their numbers: whoever holds an aligned part of them (two, four, ...) may sum that part first.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeVar

Term = TypeVar("Term")


@dataclasses.dataclass(frozen=True)
class Slices:
    """The slices of a batch that one worker computes.

    Attributes:
        size: positions of the batch that a slice has.
        mine: the numbers of this worker's slices.
    """

    size: int
    mine: range

    @property
    def first(self) -> int:
        """The position of this worker's first image in the batch."""
        return self.mine.start * self.size

    def parts(self, images: int) -> list[range]:
        """The positions of each of this worker's slices, those without an image left out.

        The slices that have none are the last ones.

        Args:
            images: in the whole batch.
        """
        ends = [(i * self.size, min((i + 1) * self.size, images)) for i in self.mine]
        return [range(start, end) for start, end in ends if start < end]


# A batch of any size that is not cut.
WHOLE = Slices(size=2**31 - 1, mine=range(1))


def cut(batch_size: int, count: int, worker: int = 0, workers: int = 1) -> Slices:
    """The slices of one of several workers: an aligned part of all.

    Args:
        batch_size: images in a whole batch.
        count: of slices, a power of two that divides it.
        worker: which, from 0.
        workers: how many there are, a power of two that divides `count`.
    """
    each = count // workers
    return Slices(batch_size // count, range(worker * each, (worker + 1) * each))


def tree_sum(terms: Sequence[Term], add: Callable[[Term, Term], Term]) -> Term:
    """The sum of terms, neighbours first: ((t0 + t1) + (t2 + t3)) + ...

    To be called outside of a graph: inside, Grappler would make a single AddN of it, whose order is
    not this one.

    Args:
        terms: at least one.
        add: the sum of two.
    """
    terms = list(terms)
    while len(terms) > 1:
        pairs = [add(*terms[i : i + 2]) for i in range(0, len(terms) - 1, 2)]
        terms = pairs + terms[len(pairs) * 2 :]
    return terms[0]
