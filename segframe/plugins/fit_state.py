"""What a resumed training continues from: position, sums of the epoch, history, the best weights so far."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from segframe import checkpoint
from segframe.atomic import write_json
from segframe.errors import SegframeError
from segframe.identity import differences
from segframe.plugins.schedules import learning_rate_at
from segframe.record import Record

if TYPE_CHECKING:
    from segframe.experiment import Run

log = logging.getLogger("segframe")

SAVED = (
    "epoch",
    "step",
    "step_in_epoch",
    "loss_sum",
    "images",
    "seconds",
    "wait_seconds",
    "history",
    "best_epoch",
    "best_score",
    "stopped",
    "test_at",
    "per_image_test_at",
)


class FitState:
    """Counts a training, and moves it to and from checkpoint.h5."""

    def __init__(self, run: Run, callbacks: list[Any]):
        self.run, self.callbacks = run, callbacks
        self.path = run.out_dir / "checkpoint.h5"
        self.epoch = 0
        """Finished epochs."""
        self.step = 0
        """Finished steps of the whole run."""
        self.step_in_epoch = 0
        self.loss_sum, self.images, self.seconds, self.wait_seconds = 0.0, 0, 0.0, 0.0
        self.history: list[dict[str, Any]] = []
        self.best_epoch, self.best_score = 0, -1.0
        self.best_weights: list[np.ndarray] = []
        self.stopped = False
        """Stopped early."""
        self.test_at: dict[str, dict[str, float | None]] = {}
        self.per_image_test_at: dict[str, dict[str, list[Any]]] = {}
        self.saved_at = time.monotonic()

    def count(self, loss: float, images: int) -> None:
        """One finished step."""
        self.step += 1
        self.step_in_epoch += 1
        self.loss_sum += loss * images
        self.images += images

    def epoch_numbers(self) -> dict[str, float]:
        """What the epoch's training came to; train/loss is what was minimised (segframe.step)."""
        return {
            "train/loss": self.loss_sum / self.images,
            "learning_rate": learning_rate_at(self.run.optimizer, self.step - 1),
            "images_per_second": self.images / self.seconds,
            "data_wait": self.wait_seconds / self.seconds,
            "train_seconds": self.seconds,
        }

    def end_epoch(self, entry: dict[str, Any], score: float | None, patience: int | None) -> None:
        """Remember an epoch's numbers, its weights if they are the best, and whether to stop early."""
        self.epoch += 1
        self.step_in_epoch = 0
        self.loss_sum, self.images, self.seconds, self.wait_seconds = 0.0, 0, 0.0, 0.0
        self.history.append(entry)
        write_json(self.run.out_dir / "history.json", self.history)
        if "val/loss" not in entry:
            return
        if score is not None and score > self.best_score or not self.best_weights:
            self.best_epoch, self.best_score = self.epoch, -1.0 if score is None else score
            self.best_weights = checkpoint.values_of(self.run.model.weights)
        elif patience is not None and self.epoch - self.best_epoch >= patience:
            self.stopped = True
            log.info("Stopped early: no better val/dice since epoch %d.", self.best_epoch)

    def load_best(self) -> None:
        """Put the best weights into the model."""
        checkpoint.assign(self.run.model.weights, self.best_weights, "best weights")

    def due(self) -> bool:
        """Whether the time for a checkpoint has come."""
        return time.monotonic() - self.saved_at >= self.run.config["train"]["checkpoint_seconds"]

    def save(self) -> None:
        """Write checkpoint.h5."""
        arrays = {
            "model": checkpoint.values_of(self.run.model.variables),
            "optimizer": checkpoint.values_of(self.run.optimizer.variables),
            "average": checkpoint.values_of(self._averages()),
            "best": self.best_weights,
        }
        state = {key: getattr(self, key) for key in SAVED}
        state["identity"] = self._identity()
        state["callbacks"] = {name: callback.state() for name, callback in self._stateful().items()}
        checkpoint.save(self.path, arrays, state)
        self.saved_at = time.monotonic()

    def restore(self) -> None:
        """Continue from checkpoint.h5, if there is one."""
        for left in self.path.parent.glob(f".*.{self.path.name}"):  # half-written when the process died
            left.unlink(missing_ok=True)
        if not self.path.exists():
            return
        arrays, state = checkpoint.load(self.path)
        differing = differences(self._identity(), state["identity"])
        if differing:
            raise SegframeError(
                str(self.path),
                expected="a checkpoint of this run",
                got=f"one of a run that differs in {'; '.join(differing)}",
                remedy="Put this run's own checkpoint back, or use train.resume=never to start afresh.",
            )
        checkpoint.assign(self.run.model.variables, arrays["model"], "model")
        checkpoint.assign(self.run.optimizer.variables, arrays["optimizer"], "optimizer")
        checkpoint.assign(self._averages(), arrays["average"], "average of the weights")
        self.best_weights = arrays["best"]
        for key in SAVED:
            setattr(self, key, state[key])
        callbacks = self._stateful()
        for name, remembered in state["callbacks"].items():
            if name not in callbacks:
                raise SegframeError(
                    str(self.path),
                    expected="the callbacks that this run began with",
                    got=f"the state of {name}, which is not there any more",
                    remedy="Install its plugin again, or use train.resume=never to start afresh.",
                )
            callbacks[name].restore(remembered)
        # Epochs that were finished after the checkpoint are done again, and would stand there twice.
        write_json(self.run.out_dir / "history.json", self.history)
        log.info("Continuing after epoch %d, step %d.", self.epoch, self.step)

    def _averages(self) -> list[Any]:
        average = self.run.metrics.steps.average
        return average.variables if average else []

    def _identity(self) -> dict[str, Any]:
        return Record(self.run.out_dir).read("record.json")["identity"]

    def _stateful(self) -> dict[str, Any]:
        """The callbacks that remember something, by class; a second one of a class has #2 behind it."""
        found: dict[str, Any] = {}
        for callback in self.callbacks:
            if hasattr(callback, "state"):
                name = f"{type(callback).__module__}.{type(callback).__qualname__}"
                same = sum(known.partition("#")[0] == name for known in found)
                found[f"{name}#{same + 1}" if same else name] = callback
        return found
