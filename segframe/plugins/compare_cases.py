"""The test images that a comparison's models do worst on, predicted again and drawn; imports TensorFlow."""

from __future__ import annotations

import contextlib
import logging
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from segframe.errors import SegframeError
from segframe.plugins.compare_figures import Groups
from segframe.plugins.compare_run import ComparedRun

if TYPE_CHECKING:
    from segframe.dataset import Dataset

log = logging.getLogger("segframe")

MOST_MODELS = 4


def worst_cases(groups: Groups, score: str, count: int) -> list[tuple[str, bytes]]:
    """(image id, PNG with a row for each model) of the images with the worst mean score.

    Of each of the first MOST_MODELS recipes the run that validation likes best, all of one split; it is
    logged which have none there.

    Raises:
        SegframeError: the data or a model are not here any more, or the data have changed.
    """
    chosen = _chosen(groups, score)
    tables = {label: run.image_scores(score) for label, run in chosen.items()}
    larger = next(iter(chosen.values())).direction(score)
    means = {
        name: statistics.fmean(values)
        for name in next(iter(tables.values()))
        if (values := [value for table in tables.values() if (value := table.get(name)) is not None])
    }
    names = sorted(means, key=lambda name: means[name] if larger else -means[name])[:count]
    return list(zip(names, _drawn(chosen, tables, score, names), strict=True))


def _chosen(groups: Groups, score: str) -> dict[str, ComparedRun]:
    with_test = {label: [run for run in runs if run.image_scores(score)] for label, runs in groups.items()}
    split = next((run.split for runs in with_test.values() for run in runs), None)
    here = {label: [run for run in runs if run.split == split] for label, runs in with_test.items()}
    found = {label: liked_best(runs, score) for label, runs in here.items() if runs}
    if not found:
        raise SegframeError(
            "the worst cases",
            expected=f"runs that keep test/{score} of each image",
            got="none",
            remedy="Leave them out: --worst 0.",
        )
    drawn = list(found)[:MOST_MODELS]
    if without := [label for label in groups if label not in drawn]:
        log.info("Worst cases are of %s, without %s", ", ".join(drawn), ", ".join(without))
    return {label: found[label] for label in drawn}


def liked_best(runs: Sequence[ComparedRun], score: str) -> ComparedRun:
    """The run with the best val/SCORE; those in which it is undefined come last."""
    larger = runs[0].direction(score)

    def goodness(run: ComparedRun) -> float:
        value = run.score(f"val/{score}")
        return -math.inf if value is None else value if larger else -value

    return max(runs, key=goodness)


def _drawn(
    chosen: dict[str, ComparedRun],
    tables: dict[str, dict[str, float | None]],
    score: str,
    names: Sequence[str],
) -> list[bytes]:
    import numpy as np

    from segframe import load_model
    from segframe.figures import Overlay, overlay_grid

    dataset = _dataset(next(iter(chosen.values())))
    places = {name: index for index, name in enumerate(dataset.ids("test"))}
    samples = dataset.read("test", [places[name] for name in names])
    rows: list[list[Overlay]] = [[] for _ in names]
    for label, run in chosen.items():
        model = load_model(run.folder)
        for name, sample, row in zip(names, samples, rows, strict=True):
            value = tables[label].get(name)
            title = f"{label[:60]}: {score} {'undefined' if value is None else f'{value:.3f}'}"
            row.append(
                Overlay(title, sample.image, sample.mask, model.predict(np.asarray(sample.image)[None])[0])
            )
    pictures = []
    with TemporaryDirectory(prefix="segframe-compare-") as scratch:
        for number, row in enumerate(rows):
            path = Path(scratch) / f"{number}.png"
            overlay_grid(path, row, dataset.class_names)
            pictures.append(path.read_bytes())
    return pictures


def _dataset(run: ComparedRun) -> Dataset:
    """The run's data, as it saw them.

    Raises:
        SegframeError: they are gone or were changed.
    """
    from segframe.catalog import build
    from segframe.folds import seen_as_fold
    from segframe.manager import plugin_manager
    from segframe.record import Record

    record = Record(run.folder)
    config = record.config()
    started_in = Path((record.read("record.json") or {}).get("started_in", "."))
    with contextlib.chdir(started_in if started_in.is_dir() else "."):  # a relative path is meant from there
        dataset = seen_as_fold(build(plugin_manager(), "dataset", config["dataset"]), config)
    if dataset.content_hash != run.data:
        raise SegframeError(
            f"the data of {run.name}",
            expected=f"the content hash {run.data[:12]}",
            got=dataset.content_hash[:12],
            remedy="They were changed since: put the file back, or use --worst 0.",
        )
    return dataset
