"""Cross-validation in a sweep: the jobs that differ in their fold only, as one result."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from segframe.record import Record

if TYPE_CHECKING:
    from hydra_plugins.segframe_launcher.sweep import Job

KEYS = ("split.fold", "split.repeat")
SCORES = ("val/dice", "test/dice", "test/iou")


class Spread(NamedTuple):
    """A score over the folds."""

    mean: float
    std: float | None
    """Of the folds, with n - 1; None for one fold."""
    folds: int
    """How many it is over: those that finished and have the score."""

    def __str__(self) -> str:
        return f"{self.mean:.4f}" + ("" if self.std is None else f" ± {self.std:.4f}")


class FoldRow(NamedTuple):
    """The jobs of one config, over its folds."""

    values: dict[str, str]
    """The overrides that they share."""
    finished: int
    folds: int
    """How many there are to finish: split.folds for each repeat that was asked for."""
    scores: dict[str, Spread]
    """By name, of whatever score any fold has."""
    images: dict[str, float]
    """Mean over the test images of all folds together: "test/dice", "test/iou", "test/pixel_accuracy". A
    repeat tests each image once."""
    pooled: dict[str, float]
    """The scores named _pooled, of the confusion counts of all folds' test parts added up."""

    def as_json(self) -> dict[str, Any]:
        return {**self._asdict(), "scores": {key: spread._asdict() for key, spread in self.scores.items()}}


def fold_rows(jobs: Sequence[Job]) -> list[FoldRow]:
    """One row for each config whose folds were swept over; none where folds do not vary."""
    groups: dict[tuple[tuple[str, str], ...], list[Job]] = {}
    for job in jobs:
        values = _values(job)
        if "split.fold" in values:
            shared = tuple(sorted((key, value) for key, value in values.items() if key not in KEYS))
            groups.setdefault(shared, []).append(job)
    if len({tuple(_values(job).get(key) for key in KEYS) for job in jobs}) < 2:
        return []
    return [_row(dict(shared), found) for shared, found in groups.items()]


def tracked(rows: Sequence[FoldRow]) -> dict[str, float]:
    """What a tracker is told of the sweep as a whole: of one config only, since a name holds one number."""
    if len(rows) != 1:
        return {}
    found: dict[str, float] = {}
    for key, spread in rows[0].scores.items():
        if key in SCORES:
            found[f"folds/{key}"] = spread.mean
            if spread.std is not None:
                found[f"folds_std/{key}"] = spread.std
    return found


def _values(job: Job) -> dict[str, str]:
    return dict(override.split("=", 1) for override in job.overrides)


def _row(values: dict[str, str], jobs: Sequence[Job]) -> FoldRow:
    finished = [job for job in jobs if not job.error and job.pruned is None]
    scores = {}
    for name in dict.fromkeys(name for job in finished for name in job.scores):
        found = [score for job in finished if (score := job.scores[name]) is not None]
        if found:
            std = statistics.stdev(found) if len(found) > 1 else None
            scores[name] = Spread(statistics.fmean(found), std, len(found))
    records = [Record(Path(job.out_dir)) for job in finished]
    repeats = len({_values(job).get("split.repeat") for job in jobs})
    folds = records[0].read("record.json")["data"]["folds"]["folds"] * repeats if records else len(jobs)
    return FoldRow(values, len(finished), folds, scores, _of_images(records), _pooled(records))


def _of_images(records: Sequence[Record]) -> dict[str, float]:
    parts = [record.read("result.json")["per_image"].get("test", {}) for record in records]
    found = {}
    for name in ("dice", "iou", "pixel_accuracy"):
        values = [value for part in parts for value in part.get(name, []) if value is not None]
        if values:
            found[f"test/{name}"] = statistics.fmean(values)
    return found


def _pooled(records: Sequence[Record]) -> dict[str, float]:
    import numpy as np

    from segframe.metrics import split_scores

    found = [record.read("result.json").get("confusion", {}).get("test") for record in records]
    if not found or None in found:  # a plugin that trains in its own way may leave them out
        return {}
    names = records[0].read("record.json")["data"]["class_names"]
    scores = split_scores(np.array(found).sum(0)[None], names)
    return {f"test/{key}": value for key, value in scores.items() if "_pooled" in key and np.isfinite(value)}
