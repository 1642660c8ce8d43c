"""The tracker that keeps nothing: what a run finds out stays in its folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from segframe.hooks import hookimpl


@hookimpl
def segframe_trackers() -> dict[str, Callable[..., NoTracker]]:
    return {"none": build_none}


def build_none() -> NoTracker:
    """No tracking."""
    return NoTracker()


class NoRun:
    """segframe.tracker.TrackedRun that forgets all it is told."""

    def params(self, params: Mapping[str, Any]) -> None:
        pass

    def tags(self, tags: Mapping[str, str]) -> None:
        pass

    def epochs(self, scores: Mapping[int, Mapping[str, float]]) -> None:
        pass

    def final(self, scores: Mapping[str, float]) -> None:
        pass

    def file(self, path: Path, folder: str = "") -> None:
        pass

    def model(self, saved_model: Path, weights: Path) -> None:
        pass


class NoTracker:
    """segframe.tracker.Tracker without a store."""

    @contextmanager
    def run(self, out_dir: Path, name: str, parent: str | None = None) -> Iterator[NoRun]:
        yield NoRun()

    def open_sweep(self, name: str, tags: Mapping[str, str], known: str | None = None) -> str:
        return ""

    def tag_sweep(self, sweep: str, tags: Mapping[str, str]) -> None:
        pass

    def close_sweep(self, sweep: str, status: str, scores: Mapping[str, float]) -> None:
        pass

    def close_run(self, out_dir: Path, status: str, error: str) -> None:
        pass

    def where(self) -> str:
        return ""
