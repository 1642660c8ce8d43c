"""The progress of a run: a moving bar where somebody watches, a line per epoch everywhere."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from segframe.console import interactive
from segframe.hooks import hookimpl
from segframe.settings import steps_per_epoch

if TYPE_CHECKING:
    from segframe.experiment import Run

log = logging.getLogger("segframe")


@hookimpl
def segframe_callbacks(run: Run) -> list[Any]:
    train = run.config["train"]
    lines: list[Any] = [EpochLines(train["epochs"])]
    if not interactive():
        return lines
    return [Bar(steps_per_epoch(train, run.pipeline.pass_length), train["epochs"]), *lines]


class EpochLines:
    """`epoch 3/20  loss 0.412  val/loss 0.398  val/dice 0.913  val/iou 0.842  57 images/s`"""

    def __init__(self, epochs: int):
        self.epochs = epochs

    def on_epoch(self, epoch: int, logs: dict[str, Any]) -> None:
        parts = [f"epoch {epoch + 1}/{self.epochs}", f"loss {logs['train/loss']:.4f}"]
        for key in ("val/loss", "val/dice", "val/iou", "test/dice", "test/iou"):
            if key in logs:
                missing = "not finite" if key == "val/loss" else "undefined"
                parts.append(f"{key} {missing if logs[key] is None else format(logs[key], '.4f')}")
        log.info("  ".join([*parts, f"{logs['images_per_second']:.1f} images/s"]))


class Bar:
    """rich's bar over the steps of the epoch."""

    def __init__(self, steps: int, epochs: int):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.steps, self.epochs, self.images = steps, epochs, 0
        self.bar = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.4f}  {task.fields[rate]:.1f} images/s"),
            TextColumn("run:"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self.task = self.bar.add_task(
            "", total=steps * epochs, epoch=1, epochs=epochs, loss=float("nan"), rate=0.0
        )
        self.started = False

    def on_step(self, step: int, logs: dict[str, Any]) -> None:
        import time

        if not self.started:  # here and not before: a resumed run does not start at step 0
            self.started, self.begin = True, time.perf_counter()
            self.bar.start()
        else:
            self.images += logs["images"]
        seconds = max(time.perf_counter() - self.begin, 1e-9)
        self.bar.update(
            self.task,
            completed=step + 1,
            epoch=step // self.steps + 1,
            loss=logs["loss"],
            rate=self.images / seconds,
        )

    def close(self) -> None:
        self.bar.stop()
