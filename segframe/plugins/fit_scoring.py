"""The model as a training scores and keeps it: averaged weights, batch normalisation's statistics anew."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

    from segframe.experiment import Run


class StopScoring(Exception):
    """The run is to stop, and what it was doing need not be finished first."""


class Scoring:
    """What is done to a run's model before it is scored, and undone after it."""

    def __init__(self, run: Run, steps_per_epoch: int):
        self.run, self.steps_per_epoch = run, steps_per_epoch
        self.average, self.norm_statistics = run.metrics.steps.average, run.metrics.steps.norm_statistics

    @contextmanager
    def of_epoch(self, epoch: int, *, scored: bool) -> Iterator[None]:
        """The model as it is scored after this epoch, counted from 0; training goes on from what it was.

        Raises:
            StopScoring: a stop was asked for; the model is as it was.
        """
        with ExitStack() as within:
            if self.average:
                within.enter_context(self.average.in_place())
            if self.norm_statistics and scored:
                within.enter_context(self.norm_statistics.in_place(self._images(epoch)))
            yield

    def of_last_epoch(self, epoch: int) -> None:
        """The model for good as it is after the last epoch, where no validation chose another's.

        Raises:
            StopScoring: a stop was asked for.
        """
        if self.average:
            self.average.adopt()
        if self.norm_statistics:
            self.norm_statistics.recompute(self._images(epoch))

    def _images(self, epoch: int) -> Iterator[tf.Tensor]:
        """Of training batches of the epoch: the same again when a run is continued."""
        from segframe.norm_statistics import FEW_BATCHES, MOST_BATCHES

        most = min(MOST_BATCHES, max(self.steps_per_epoch, FEW_BATCHES))
        for batch in islice(self.run.pipeline.train(epoch), most):
            if self.run.interrupt.requested():
                raise StopScoring
            yield batch["image"]
