"""The end of a run in a few lines: scores per class, where it lies, how to look at it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from segframe.catalog import build
from segframe.manager import Plugins

if TYPE_CHECKING:
    from segframe.experiment import RunResult


def summarise(plugins: Plugins, config: Mapping[str, Any], result: RunResult) -> None:
    """Print it to stdout."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True)
    part = "test" if "test/dice" in result.scores else "val" if "val/dice" in result.scores else None
    if part is not None:
        images = len(result.per_image[part]["id"])
        table = Table(
            title=f"{part}: {images} images, weights of epoch {result.epoch} (chosen by {result.chosen_by})"
        )
        table.add_column("")
        for heading in ("Dice", "IoU", "Dice pooled", "IoU pooled"):
            table.add_column(heading, justify="right")
        names = [
            key.removeprefix(f"{part}/dice/") for key in result.scores if key.startswith(f"{part}/dice/")
        ]
        for name in names:
            table.add_row(name, *(_number(result.scores[key]) for key in _keys(part, f"/{name}")))
        table.add_section()
        table.add_row("foreground mean", *(_number(result.scores[key]) for key in _keys(part, "")))
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


def _keys(part: str, suffix: str) -> list[str]:
    return [f"{part}/{metric}{suffix}" for metric in ("dice", "iou", "dice_pooled", "iou_pooled")]


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
