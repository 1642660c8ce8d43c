"""The end of a run in a few lines: scores per class, where it lies, how to look at it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segframe.catalog import build
from segframe.manager import Plugins
from segframe.record import Record

if TYPE_CHECKING:
    from rich.table import Table

    from segframe.experiment import RunResult

HEADINGS = {"dice": "Dice", "iou": "IoU", "dice_pooled": "Dice pooled", "iou_pooled": "IoU pooled"}


def summarise(plugins: Plugins, config: Mapping[str, Any], result: RunResult) -> None:
    """Print it to stdout."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    part = "test" if "test/dice" in result.scores else "val" if "val/dice" in result.scores else None
    if part is not None:
        images = len(result.per_image[part]["id"])
        title = f"{part}: {images} images, weights of epoch {result.epoch} (chosen by {result.chosen_by})"
        record = Record(Path(result.out_dir)).read("record.json") or {}
        for table in score_tables(result.scores, part, record.get("metric_contract", {}), title):
            console.print(table)
        accuracy = result.scores[f"{part}/pixel_accuracy"]
        console.print(f"pixel accuracy {_number(accuracy)}; objective val/dice {_number(result.objective)}")
    for epoch, scores in result.test_at.items():
        told = ", ".join(f"{key} {_number(scores[key])}" for key in ("dice", "iou", "pixel_accuracy"))
        console.print(f"test after epoch {epoch} (asked for, not used to choose): {told}")
    console.print(f"run: {shlex.quote(result.out_dir)}", markup=False)
    where = build(plugins, "tracker", config["tracker"]).where()
    if where:
        console.print(f"compare: {where}", markup=False)


def score_tables(
    scores: Mapping[str, float | None], part: str, contract: Mapping[str, Any], title: str
) -> list[Table]:
    """The core's scores of each class; a second table has those of the requested metrics, if there are any.

    Args:
        scores: "PART/dice/CLASS" and its like.
        contract: the metric contract that is stored with them.
    """
    tables = [_table(scores, part, HEADINGS, title)]
    requested = _requested(scores, part, contract)
    return tables + ([_table(scores, part, requested)] if requested else [])


def _table(
    scores: Mapping[str, float | None], part: str, headings: Mapping[str, str], title: str | None = None
) -> Table:
    """Scores of each class, then of the foreground; `headings` is {name of a score: its column's heading}."""
    from rich.table import Table

    table = Table(title=title)
    table.add_column("")
    for heading in headings.values():
        table.add_column(heading, justify="right")

    def cells(suffix: str) -> list[str]:
        keys = [f"{part}/{name}{suffix}" for name in headings]
        return [_number(scores[key]) if key in scores else "" for key in keys]

    for key in scores:
        if key.startswith(f"{part}/dice/"):
            name = key.removeprefix(f"{part}/dice/")
            table.add_row(name, *cells(f"/{name}"))
    table.add_section()
    table.add_row("foreground mean", *cells(""))
    return table


def _requested(scores: Mapping[str, float | None], part: str, contract: Mapping[str, Any]) -> dict[str, str]:
    """{name: heading with unit} of the requested metrics' scores."""
    headings = {}
    for metric in contract.get("requested", {}).values():
        for name in metric["larger_is_better"]:
            unit = metric.get("units", {}).get(name)
            if f"{part}/{name}" in scores:  # a plugin that trains in its own way may leave them out
                headings[name] = f"{name} ({unit})" if unit else name
    return headings


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
