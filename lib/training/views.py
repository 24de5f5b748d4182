"""A feed that computes a few augmented views of each image once and repeats them in turn."""

from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from lib.config import Phase, setting
from lib.distribution.workers import SINGLE, Workers
from lib.errors import UserError
from lib.training.feed import Batch, TrainingFeed
from lib.training.shared_features import NOTHING_SHARED, SharedFeatures


class ViewFeed:
    """Epoch e of a phase sees each image as its epoch e % views did, in an order of its own.

    Epochs after the first `views` cost no pass through the frozen part. What that trades away: the
    head sees `views` variants of an image instead of a new one each epoch, so it can fit them more
    closely; the more epochs, the more views are worth their time.

    Args:
        feed: gives the views.
        phase: whose epochs repeat them; says how many there are.
        first_step: of the phase.
        memory_mb: budget for keeping their features and targets, in MiB.
        check_stop: raises `Stopped` when the run was asked to stop; called between batches.
        workers: each of which computes its slices of a view.
        shared: views that other runs may have computed, where there is one worker.

    Raises:
        UserError: the features do not fit the budget.
    """

    def __init__(
        self,
        feed: TrainingFeed,
        phase: Phase,
        first_step: int,
        memory_mb: int,
        check_stop: Callable[[], None],
        workers: Workers = SINGLE,
        shared: SharedFeatures = NOTHING_SHARED,
    ):
        self._feed = feed
        self._views = phase.views
        self._first_step = first_step
        self._check_stop = check_stop
        self._workers = workers
        self._shared = shared
        self._whole: set[int] = set()  # views that hold what all workers have computed
        shape = feed.feature_shape
        needed = 4 * phase.views * feed.examples * (np.prod(shape) + feed.columns) / 2**20
        if needed > memory_mb:
            raise UserError(
                f"{setting(f'{phase.name}_views', phase.views)}: the features of {feed.examples}"
                f" images take {needed:.0f} MB; give fewer views, or"
                f" {setting('memory_mb', int(needed) + 1)}"
            )
        self._features = np.zeros((phase.views, feed.examples, *shape), np.float32)
        self._targets = np.zeros((phase.views, feed.examples, feed.columns), np.float32)
        self._known = np.zeros((phase.views, feed.examples), bool)

    def batches(self, first: int, last: int) -> Iterator[Batch]:
        """The batches of the steps from `first` up to, but not including, `last`, of one epoch."""
        if first == last:
            return
        epoch = (first - self._first_step) // self._feed.epoch_steps
        view = epoch % self._views
        self._read(view)
        if epoch == view and not self._known[view].all():
            yield from self._computed(view, first, last)
            return
        self._complete(view)
        for step in range(first, last):
            positions = self._feed.mine(step)
            # A view that was mixed keeps its mixed targets.
            yield Batch(
                tf.constant(self._features[view, positions]),
                tf.constant(self._targets[view, positions]),
                len(self._feed.positions(step)),
            )

    def _computed(self, view: int, first: int, last: int) -> Iterator[Batch]:
        """Computes the batches of a view's own epoch, and keeps their features."""
        for step, batch in enumerate(self._feed.batches(first, last), start=first):
            positions = self._feed.mine(step)
            self._features[view, positions] = batch.features
            self._targets[view, positions] = batch.targets
            self._known[view, positions] = True
            yield batch
        if self._known[view].all():
            self._shared.save(self._name(view), self._features[view], self._targets[view])

    def _read(self, view: int) -> None:
        """Takes a view of which nothing is known as another run left it, if any did."""
        if not self._known[view].any() and (found := self._shared.load(self._name(view))):
            self._features[view], self._targets[view] = found
            self._known[view] = True

    def _name(self, view: int) -> str:
        return f"the training images as the epoch from step {self._start(view)} on sees them"

    def _start(self, view: int) -> int:
        return self._first_step + view * self._feed.epoch_steps

    def _complete(self, view: int) -> None:
        """Computes what is missing of a view, as it was in its own epoch: after a restart, all."""
        steps = range(self._start(view), self._start(view + 1))
        missing = [s for s in steps if not self._known[view, self._feed.mine(s)].all()]
        if missing:  # all before a certain step: where this process took over
            for _ in self._computed(view, missing[0], missing[-1] + 1):
                self._check_stop()
        if self._workers.count > 1 and view not in self._whole:
            for step in steps:
                self._exchange(view, step)
                self._check_stop()
            self._whole.add(view)

    def _exchange(self, view: int, step: int) -> None:
        """Gathers what the workers have of a step of a view."""
        mine, positions = self._feed.mine(step), self._feed.positions(step)
        for kept in (self._features[view], self._targets[view]):
            row = np.zeros((self._feed.room, *kept.shape[1:]), np.float32)
            row[: len(mine)] = kept[mine]
            rows = self._workers.gather(tf.constant(row.ravel()), bounded=False).numpy()
            kept[positions] = rows.reshape(-1, *kept.shape[1:])[: len(positions)]
