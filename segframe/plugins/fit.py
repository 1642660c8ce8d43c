"""The default training: an own loop over compiled steps, which can stop after any step and go on exactly."""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING, Any

from segframe.errors import SegframeError
from segframe.hooks import hookimpl
from segframe.plugins.fit_scoring import Scoring, StopScoring
from segframe.settings import steps_per_epoch

if TYPE_CHECKING:
    from segframe.evaluator import PartScores
    from segframe.experiment import Run, RunResult

log = logging.getLogger("segframe")

OBJECTIVE = "val/dice"
DATA_WAIT_LIMIT = 0.05  # share of the step time above which the data are said to be the brake


@hookimpl(trylast=True)
def segframe_fit(run: Run) -> RunResult:
    loop = Loop(run)
    try:
        loop.train()
        return loop.conclude()
    finally:
        loop.call("close")


class Loop:
    """One training; segframe.plugins.fit_state has what a resumed one continues from."""

    def __init__(self, run: Run):
        from segframe.plugins.fit_state import FitState

        self.run, self.settings = run, run.config["train"]
        self.has_val = "val" in run.pipeline.parts
        self.callbacks = [
            callback for given in run.plugins.hook.segframe_callbacks(run=run) for callback in given
        ]
        self.state = FitState(run, self.callbacks)
        self.state.restore()
        for entry in self.state.history:  # the process that was killed may not have told all of it
            run.tracker.epoch(entry["epoch"], entry)
        self.steps_per_epoch = steps_per_epoch(self.settings, run.pipeline.pass_length)
        if self.settings["steps_per_epoch"]:
            self.batches = run.pipeline.full_batches(self.state.step)
        else:
            self.batches = run.pipeline.stream(self.state.epoch, self.state.step_in_epoch)
        self.scoring = Scoring(run, self.steps_per_epoch)
        self.said_wait = False

    def call(self, method: str, *arguments: Any) -> None:
        for callback in self.callbacks:
            if hasattr(callback, method):
                getattr(callback, method)(*arguments)

    def train(self) -> None:
        state = self.state
        while state.epoch < self.settings["epochs"] and not state.stopped:
            self._steps()
            scored = self.has_val or state.epoch + 1 in self.settings["score_test_at"]
            try:
                with self.scoring.of_epoch(state.epoch, scored=scored):
                    self._end_epoch()
            except StopScoring:  # asked for in the middle: after the epoch's last step it goes on
                self._save_and_leave(due=True)
            self._save_and_leave(due=state.epoch == self.settings["epochs"] or state.stopped)

    def _steps(self) -> None:
        """The steps of an epoch, or those that are left of it."""
        from segframe.batch import target_of

        state, train_step = self.state, self.run.metrics.steps.train
        pending = None
        for _ in range(state.step_in_epoch, self.steps_per_epoch):
            start = time.perf_counter()
            batch = next(self.batches)
            waited = time.perf_counter() - start
            mean, per_image = train_step(batch["image"], target_of(batch))
            # The last step's loss is read while this step runs: reading at once would leave a GPU idle.
            self._settle(pending)
            pending = mean, per_image, batch["index"]
            state.wait_seconds += waited
            state.seconds += time.perf_counter() - start
            if self.run.interrupt.requested() or state.due():
                self._settle_timed(pending)
                pending = None
                self._save_and_leave(due=True)
        self._settle_timed(pending)

    def _settle_timed(self, pending: tuple[Any, Any, Any] | None) -> None:
        """The wait for a last step is time of the epoch too."""
        start = time.perf_counter()
        self._settle(pending)
        self.state.seconds += time.perf_counter() - start

    def _settle(self, pending: tuple[Any, Any, Any] | None) -> None:
        """Count a finished step, or stop at a loss that is not finite."""
        if pending is None:
            return
        state, (mean, per_image, index) = self.state, pending
        loss, images = float(mean), int(index.shape[0])
        if not math.isfinite(loss):
            ids = self.run.pipeline.parts["train"].ids
            told = ", ".join(
                f"{ids[i]} ({value:g})" for i, value in zip(index.numpy(), per_image.numpy(), strict=True)
            )
            raise SegframeError(
                f"step {state.step} (epoch {state.epoch + 1})",
                expected="a finite loss",
                got=f"{loss} for the samples (loss of each) {told}",
                remedy="Lower optimizer.learning_rate, set optimizer.clip_norm=1.0 or look at these samples.",
            )
        self.call("on_step", state.step, {"loss": loss, "images": images})
        state.count(loss, images)

    def _end_epoch(self) -> None:
        state, run = self.state, self.run
        entry: dict[str, Any] = {"epoch": state.epoch + 1, "step": state.step, **state.epoch_numbers()}
        if self.has_val:
            found = run.metrics.score("val")
            entry |= {f"val/{key}": _defined(value) for key, value in found.scores.items()}
        if state.epoch + 1 in self.settings["score_test_at"]:
            found, epoch = run.metrics.score("test"), str(state.epoch + 1)
            state.test_at[epoch] = {key: _defined(value) for key, value in found.scores.items()}
            state.per_image_test_at[epoch] = self._per_image("test", found)
            entry |= {f"test/{key}": value for key, value in state.test_at[epoch].items()}
        state.end_epoch(entry, entry.get(OBJECTIVE), self.settings["early_stopping_epochs"])
        self.call("on_epoch", state.epoch - 1, entry)
        run.tracker.epoch(state.epoch, entry)
        if (
            entry["data_wait"] > DATA_WAIT_LIMIT
            and entry["train_seconds"] > 1
            and state.epoch > 1
            and not self.said_wait
        ):
            self.said_wait = True
            log.warning(
                "The network waits for data %.0f %% of the time (data_wait). What helps: docs/pipeline.md",
                100 * entry["data_wait"],
            )

    def _save_and_leave(self, due: bool) -> None:
        stop = self.run.interrupt.requested()
        if due or stop or self.state.due():
            self.state.save()
        if stop:
            log.info("Saved %s after step %d.", self.run.out_dir, self.state.step)
            self.run.interrupt.leave()

    def conclude(self) -> RunResult:
        """Load the chosen weights and score them: validation, then test, once."""
        from segframe.experiment import RunResult

        state, run = self.state, self.run
        missed = [epoch for epoch in self.settings["score_test_at"] if epoch > state.epoch]
        if missed:
            log.warning("train.score_test_at: epochs %s were not reached.", ", ".join(map(str, missed)))
        if self.has_val:
            state.load_best()
        else:
            try:
                self.scoring.of_last_epoch(state.epoch - 1)
            except StopScoring:  # the last epoch's checkpoint is there
                run.interrupt.leave()
        scores: dict[str, float | None] = {}
        per_image: dict[str, dict[str, list[Any]]] = {}
        confusion: dict[str, list[list[int]]] = {}
        for part in ("val", "test"):
            if part in run.pipeline.parts:
                found = run.metrics.score(part, requested=True)
                scores |= {f"{part}/{key}": _defined(value) for key, value in found.scores.items()}
                per_image[part] = self._per_image(part, found)
                confusion[part] = found.counts.sum(0).tolist()
        return RunResult(
            objective=scores.get(OBJECTIVE),
            epoch=state.best_epoch if self.has_val else state.epoch,
            chosen_by=OBJECTIVE if self.has_val else "last epoch",
            scores=scores,
            test_at=state.test_at,
            per_image=per_image,
            per_image_test_at=state.per_image_test_at,
            confusion=confusion,
            out_dir=str(run.out_dir),
        )

    def _per_image(self, part: str, found: PartScores) -> dict[str, list[Any]]:
        """What RunResult.per_image keeps of a part."""
        scores = {key: [_defined(float(v)) for v in values] for key, values in found.per_image.items()}
        return {"id": list(self.run.pipeline.parts[part].ids), **scores}


def _defined(value: float) -> float | None:
    return value if math.isfinite(value) else None
