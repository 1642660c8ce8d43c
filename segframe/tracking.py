"""A run and its tracker: told live by a thread of its own, never the reason that a run fails or waits, handed
in from the folder later."""

from __future__ import annotations

import json
import logging
import math
import shlex
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segframe.identity import flatten
from segframe.outbox import Outbox
from segframe.record import FAILED, FINISHED, INTERRUPTED, PRUNED, Record
from segframe.tracker import TrackedRun, Tracker

if TYPE_CHECKING:
    from segframe.experiment import RunResult

log = logging.getLogger("segframe")

FILES = (
    "config.yaml", "record.json", "history.json", "result.json", "costs.json", "per_image.csv",
    "per_image_test_at.csv", "run.log",
)  # fmt: skip


Message = Callable[[TrackedRun], None] | tuple[int, Mapping[str, float]]
"""What to call with the tracker's run, or the numbers of an epoch: several of these are told together."""


class Telling:
    """What a run tells its tracker, which a thread does (segframe.outbox): a slow store does not stall a run.

    A failure is said; the whole folder is handed in at the end then.
    """

    def __init__(self, tracker: Tracker, record: Record, parent: str | None):
        self.tracker, self.record, self.parent = tracker, record, parent
        self.missed = False
        self._context: AbstractContextManager[TrackedRun] | None = None
        self._run: TrackedRun | None = None
        self._outbox: Outbox[Message] = Outbox(self._deliver)

    def open(self) -> None:
        """Before the training: it waits, so that the tracker's imports do not run beside other ones."""
        self._try(self._enter)
        self._tell(lambda run: run.params(flatten(self.record.config())))

    def facts(self, facts: Mapping[str, Any]) -> None:
        """record.json, once it is complete."""
        found = tags(self.record, facts)
        self._post(lambda run: run.tags(found))

    def epoch(self, epoch: int, scores: Mapping[str, float]) -> None:
        """The numbers of a finished epoch, counted from 1; one that was told before is not told again."""
        self._post((epoch, numbers(scores)))

    def result(self, result: RunResult) -> None:
        """The end: scores, files, model."""
        self._post(lambda run: _hand_in_end(run, self.record, vars(result)))

    def close(self, error: BaseException | None = None) -> None:
        """End the tracker's run as the run ended; hand the folder in if something was missed on the way."""
        self._post(lambda run: _hand_in_files(run, self.record))
        self._outbox.close()
        context, self._run = self._context, None
        if context is not None:
            self._try(
                lambda: context.__exit__(
                    type(error) if error else None, error, error.__traceback__ if error else None
                )
            )
        if self.missed:
            try:
                hand_in(self.tracker, self.record, self.parent)
                log.info("The tracker can be reached again: the whole run is handed in.")
            except Exception as failure:
                log.warning(
                    "The run is not in the tracker (%s). All of it is in its folder; hand it in later with\n"
                    "  python -m segframe track %s",
                    _first_line(failure),
                    shlex.quote(str(self.record.folder)),
                )

    def _enter(self) -> None:
        context = self.tracker.run(self.record.folder, self.record.folder.name, self.parent)
        self._run = context.__enter__()
        self._context = context

    def _post(self, message: Message) -> None:
        if self._run is not None and not self.missed:
            self._outbox.post(message)

    def _deliver(self, messages: list[Message]) -> None:
        for epochs, together in groupby(messages, key=lambda message: isinstance(message, tuple)):
            if epochs:
                self._tell(_of_epochs(dict(together)))  # type: ignore[arg-type]
            else:
                for what in together:
                    self._tell(what)  # type: ignore[arg-type]

    def _tell(self, what: Callable[[TrackedRun], None]) -> None:
        run = self._run
        if run is not None and not self.missed:
            self._try(lambda: what(run))

    def _try(self, what: Callable[[], Any]) -> None:
        try:
            what()
        except Exception as failure:
            self.missed = True
            log.warning(
                "The tracker cannot be reached (%s). The run goes on; its folder keeps everything.",
                _first_line(failure),
            )


def _of_epochs(scores: Mapping[int, Mapping[str, float]]) -> Callable[[TrackedRun], None]:
    return lambda run: run.epochs(scores)


def link(tracker: Tracker, record: Record, parent: str) -> None:
    """Put a run that had finished before below the sweep that came by it now."""
    try:
        with tracker.run(record.folder, record.folder.name, parent):
            pass
    except Exception as failure:
        log.warning("The finished run is not listed below this sweep (%s).", _first_line(failure))


def hand_in(tracker: Tracker, record: Record, parent: str | None = None) -> None:
    """Tell a tracker a whole run from its folder; what it knows already stays as it is.

    Raises:
        Exception: whatever the tracker raises when its store cannot be reached.
    """
    status = record.read("status.json") or {"state": FAILED, "error": "killed before it began"}
    ended = {
        FINISHED: None,
        FAILED: RuntimeError(status["error"]),
        INTERRUPTED: KeyboardInterrupt(status["error"]),
        PRUNED: KeyboardInterrupt(status["error"]),
    }.get(status["state"], RuntimeError("killed: the process is gone"))
    try:
        with tracker.run(record.folder, record.folder.name, parent) as run:
            run.params(flatten(record.config()))
            run.tags(tags(record, record.read("record.json") or {}))
            run.epochs({entry["epoch"]: numbers(entry) for entry in record.read("history.json") or []})
            result = record.read("result.json")
            if result is not None:
                _hand_in_end(run, record, result)
            for file in sorted((record.folder / "evaluations").glob("*.json")):
                hand_in_evaluation(run, file)
            _hand_in_files(run, record)
            if ended is not None:
                raise ended
    except (RuntimeError, KeyboardInterrupt) as error:
        if error is not ended:
            raise
        if getattr(error, "__notes__", None):  # the tracker could not be told how it ended
            raise RuntimeError("; ".join(error.__notes__)) from error


def tags(record: Record, facts: Mapping[str, Any]) -> dict[str, str]:
    """What is worth searching for in a tracker."""
    machine, git = facts.get("machine", {}), facts.get("git", {})
    found = {
        "segframe.folder": str(record.folder.resolve()),
        "segframe.data_hash": facts.get("data", {}).get("content_hash", ""),
        "segframe.git_commit": git.get("folder") or git.get("segframe") or "",
        "segframe.git_changed": str(bool(git.get("folder_diff") or git.get("segframe_diff"))).lower(),
        "segframe.device": ", ".join(machine.get("gpus", [])) or machine.get("processor", ""),
        "segframe.parameters": str(facts.get("parameters", "")),
    }
    found |= {f"segframe.version.{name}": text for name, text in facts.get("versions", {}).items()}
    return {key: value for key, value in found.items() if value}


def numbers(scores: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of an epoch that have a value: no text, nothing undefined."""
    return {
        key: float(value)
        for key, value in scores.items()
        if isinstance(value, int | float) and key != "epoch" and math.isfinite(value)
    }


def _hand_in_end(run: TrackedRun, record: Record, result: Mapping[str, Any]) -> None:
    final = {f"final/{key}": value for key, value in result["scores"].items()}
    for epoch, scores in result["test_at"].items():
        final |= {f"at_epoch_{epoch}/{key}": value for key, value in scores.items()}
    final |= {f"cost/{key}": value for key, value in (record.read("costs.json") or {}).items()}
    run.final(numbers(final | {"final/chosen_epoch": result["epoch"]}))
    for figure in sorted((record.folder / "figures").glob("*.png")):
        run.file(figure, "figures")
    if (record.folder / "saved_model").exists():
        run.model(record.folder / "saved_model", record.folder / "model.weights.h5")


def hand_in_evaluation(run: TrackedRun, file: Path) -> None:
    """The scores of a finished run on other data (RUN_DIR/evaluations/NAME.json), as eval/NAME/SCORE."""
    found = json.loads(file.read_text(encoding="utf-8"))
    data = found["data"]
    run.tags({f"segframe.eval.{file.stem}": f"{data['split']} of {data['content_hash']}"})
    run.final(numbers({f"eval/{file.stem}/{key}": value for key, value in found["scores"].items()}))
    for one in (file, file.with_suffix(".csv")):
        if one.exists():
            run.file(one, "evaluations")


def _hand_in_files(run: TrackedRun, record: Record) -> None:
    """What a run's folder holds however it ended: config, provenance, history, log."""
    for name in FILES:
        if (record.folder / name).exists():
            run.file(record.folder / name)


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:300]
