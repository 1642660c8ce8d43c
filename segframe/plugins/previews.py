"""What a run shows when it is done: the worst, median and best image with its mask, and the curves; the
table of every image's scores. After each epoch of train.score_test_at: the test images."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from segframe.atomic import replacing
from segframe.hooks import hookimpl

if TYPE_CHECKING:
    from segframe.experiment import Run, RunResult
    from segframe.figures import Overlay

log = logging.getLogger("segframe")

MOST_IMAGES, PAGE = 96, 8  # drawing an image takes about 0.15 s; a PNG of more rows is hard to look at


@hookimpl(wrapper=True)
def segframe_fit(run: Run) -> Generator[None, RunResult, RunResult]:
    result = yield
    part = "test" if "test" in result.per_image else "val"
    if part in result.per_image:
        _table(run, "per_image.csv", "part", {part: result.per_image[part]})
        _overlays(run, part, result.per_image[part]["dice"])
    if result.per_image_test_at:
        _table(run, "per_image_test_at.csv", "epoch", result.per_image_test_at)
    _curves(run)
    return result


@hookimpl
def segframe_callbacks(run: Run) -> list[Any]:
    return [TestPictures(run)] if run.config["train"]["score_test_at"] else []


class TestPictures:
    """figures/test_epoch_N.png: the test images with mask and prediction, PAGE of them a file.

    An epoch that is done again after a kill draws the same file again.
    """

    def __init__(self, run: Run):
        self.run, self.epochs = run, frozenset(run.config["train"]["score_test_at"])

    def on_epoch(self, epoch: int, logs: Mapping[str, Any]) -> None:
        if epoch + 1 in self.epochs:
            self._draw(epoch + 1)

    def _draw(self, epoch: int) -> None:
        from segframe.figures import overlay_grid

        ids = self.run.pipeline.parts["test"].ids
        if len(ids) > MOST_IMAGES:
            log.info("Epoch %d: the first %d of %d test images are drawn.", epoch, MOST_IMAGES, len(ids))
        rows = _rows(self.run, "test", {name: position for position, name in enumerate(ids[:MOST_IMAGES])})
        pages = [rows[start : start + PAGE] for start in range(0, len(rows), PAGE)]
        for number, page in enumerate(pages, start=1):
            name = f"test_epoch_{epoch}.png" if len(pages) == 1 else f"test_epoch_{epoch}_page_{number}.png"
            overlay_grid(self.run.out_dir / "figures" / name, page, self.run.dataset.class_names)


def _table(run: Run, name: str, first: str, tables: Mapping[str, Mapping[str, Sequence[Any]]]) -> None:
    """A CSV file of each image's scores; its first column has the keys of `tables`."""
    with (
        replacing(run.out_dir / name) as path,
        open(path, "w", newline="", encoding="utf-8") as file,
    ):
        lines = csv.writer(file)
        lines.writerow([first, *next(iter(tables.values()))])
        for key, scores in tables.items():
            for values in zip(*scores.values(), strict=True):
                lines.writerow([key, *("" if value is None else value for value in values)])


def _overlays(run: Run, part: str, dice: Sequence[float | None]) -> None:
    from segframe.figures import overlay_grid

    scored = sorted((value, position) for position, value in enumerate(dice) if value is not None)
    if not scored:
        return
    picks: dict[int, list[str]] = {}  # of one or two images, one is several of these
    for pick, number in (("worst", 0), ("median", (len(scored) - 1) // 2), ("best", -1)):
        picks.setdefault(scored[number][1], []).append(pick)
    ids = run.pipeline.parts[part].ids
    titles = {f"{' and '.join(names)}: {ids[position]}": position for position, names in picks.items()}
    rows = _rows(run, part, titles)
    overlay_grid(run.out_dir / "figures" / f"{part}_overlays.png", rows, run.dataset.class_names)


def _rows(run: Run, part: str, positions: Mapping[str, int]) -> list[Overlay]:
    """{title: position in the part} -> rows of a figure, predicted with the model's present weights."""
    from segframe.dataset import at_once

    step, titles = at_once(run.dataset), list(positions.items())
    groups = (dict(titles[start : start + step]) for start in range(0, len(titles), step))
    return [row for group in groups for row in _rows_together(run, part, group)]


def _rows_together(run: Run, part: str, positions: Mapping[str, int]) -> list[Overlay]:
    import numpy as np

    from segframe.figures import Overlay, thinned
    from segframe.metrics import confusion, image_scores

    chosen, names = run.pipeline.parts[part], run.dataset.class_names
    predictions = run.metrics.predict(part, list(positions.values()))
    samples = run.dataset.read(chosen.split, [chosen.indices[position] for position in positions.values()])
    counts = [
        confusion(sample.mask, ids, len(names)) for sample, ids in zip(samples, predictions, strict=True)
    ]
    dice = image_scores(np.stack(counts), names)["dice"]
    return [
        thinned(Overlay(f"{title}, Dice {_told(score)}", sample.image, sample.mask, prediction))
        for title, score, sample, prediction in zip(positions, dice, samples, predictions, strict=True)
    ]


def _told(score: float) -> str:
    return "undefined" if math.isnan(score) else f"{score:.3f}"


def _curves(run: Run) -> None:
    from segframe.figures import curves
    from segframe.record import Record

    history = Record(run.out_dir).read("history.json")
    if history:  # a plugin that trains in its own way may write none
        curves(run.out_dir / "figures" / "curves.png", history)
