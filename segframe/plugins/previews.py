"""What a run shows when it is done: the worst, median and best image with its mask, and the curves; the
table of every image's scores."""

from __future__ import annotations

import csv
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from segframe.atomic import replacing
from segframe.hooks import hookimpl

if TYPE_CHECKING:
    from segframe.experiment import Run, RunResult


@hookimpl(wrapper=True)
def segframe_fit(run: Run) -> Generator[None, RunResult, RunResult]:
    result = yield
    part = "test" if "test" in result.per_image else "val"
    if part in result.per_image:
        _table(run, part, result.per_image[part])
        _overlays(run, part, result.per_image[part]["dice"])
    _curves(run)
    return result


def _table(run: Run, part: str, per_image: dict[str, list[Any]]) -> None:
    with (
        replacing(run.out_dir / "per_image.csv") as path,
        open(path, "w", newline="", encoding="utf-8") as file,
    ):
        rows = csv.writer(file)
        rows.writerow(["part", *per_image])
        for values in zip(*per_image.values(), strict=True):
            rows.writerow([part, *("" if value is None else value for value in values)])


def _overlays(run: Run, part: str, dice: list[float | None]) -> None:
    from segframe.figures import Overlay, overlay_grid

    scored = sorted((value, position) for position, value in enumerate(dice) if value is not None)
    if not scored:
        return
    picks = {"worst": scored[0], "median": scored[(len(scored) - 1) // 2], "best": scored[-1]}
    chosen = run.pipeline.parts[part]
    positions = [position for _, position in picks.values()]
    samples = run.dataset.read(chosen.split, [chosen.indices[position] for position in positions])
    rows = [
        Overlay(f"{pick}: {chosen.ids[position]}, Dice {score:.3f}", sample.image, sample.mask, prediction)
        for (pick, (score, position)), sample, prediction in zip(
            picks.items(), samples, run.metrics.predict(part, positions), strict=True
        )
    ]
    overlay_grid(run.out_dir / "figures" / f"{part}_overlays.png", rows, run.dataset.class_names)


def _curves(run: Run) -> None:
    from segframe.figures import curves
    from segframe.record import Record

    history = Record(run.out_dir).read("history.json")
    if history:  # a plugin that trains in its own way may write none
        curves(run.out_dir / "figures" / "curves.png", history)
