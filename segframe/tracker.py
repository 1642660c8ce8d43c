"""What a tracker is: it is told of runs and sweeps, and keeps them where they can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"


class TrackedRun(Protocol):
    """One run, open. Telling the same thing twice leaves it there once: after a kill no step is doubled.

    The methods are called one after the other, but not all by the same thread.
    """

    def params(self, params: Mapping[str, Any]) -> None:
        """The flattened config: {"model.depth": 4, ...}."""

    def tags(self, tags: Mapping[str, str]) -> None:
        """Facts that are not parameters: data hash, versions, git commit, folder."""

    def epochs(self, scores: Mapping[int, Mapping[str, float]]) -> None:
        """{epoch, counted from 1: all its numbers} of finished epochs; those there already are skipped."""

    def final(self, scores: Mapping[str, float]) -> None:
        """The numbers that stand at the end: the chosen epoch's validation and test scores."""

    def file(self, path: Path, folder: str = "") -> None:
        """A file of the run's folder, kept under `folder` in the tracker."""

    def model(self, saved_model: Path, weights: Path) -> None:
        """The exported SavedModel, raw images (batch, height, width, channels) float32 -> logits, and the
        model.weights.h5 that segframe.load_model reads."""


class Tracker(Protocol):
    """What `segframe_trackers` builders return. Nothing is opened and nothing heavy imported by building it.

    Any method may raise anything when the store cannot be reached: the core says so once, the run goes on,
    and `python -m segframe track RUN_DIR` hands the folder in later.
    """

    def run(self, out_dir: Path, name: str, parent: str | None = None) -> AbstractContextManager[TrackedRun]:
        """A context around a run: FINISHED when left normally, KILLED by KeyboardInterrupt, else FAILED.

        The tracker remembers its own id of the run in `out_dir / "tracker.json"` and continues under it.
        """

    def open_sweep(self, name: str, tags: Mapping[str, str], known: str | None = None) -> str:
        """Start a sweep's parent run; returns its id, which jobs get as `parent`.

        Args:
            known: its id of before, where a sweep goes on: the same run is opened again if it is still there.
        """

    def tag_sweep(self, sweep: str, tags: Mapping[str, str]) -> None:
        """Facts that are known only at the end: what the best job's config differs in."""

    def close_sweep(self, sweep: str, status: str, scores: Mapping[str, float]) -> None:
        """End it as FINISHED, FAILED or KILLED."""

    def close_run(self, out_dir: Path, status: str, error: str) -> None:
        """End the run of a process that died without ending it itself."""

    def where(self) -> str:
        """The command that shows what is kept, for the summary; empty if there is none."""
