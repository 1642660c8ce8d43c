"""The table at the end of a sweep."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra_plugins.segframe_launcher.fold_rows import SCORES, FoldRow

if TYPE_CHECKING:
    from hydra_plugins.segframe_launcher.sweep import Job


def print_table(
    jobs: Sequence[Job], rows: Sequence[FoldRow], *, folder: Path, where: str, lines: Sequence[str] = ()
) -> None:
    """Print the jobs, then what the folds of each config come to together.

    Args:
        folder: of the sweep.
        where: the command that shows what the tracker keeps; empty if there is none.
        lines: what the sweeper adds.
    """
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
    keys = varied([job.overrides for job in jobs])
    table = Table(title=f"Sweep of {len(jobs)} jobs, best val/dice first")
    for heading in ("job", *keys, "val/dice", "test/dice", "test/iou", "state"):
        table.add_column(heading, overflow="fold")
    for job in sorted(jobs, key=lambda job: -1.0 if job.objective is None else job.objective, reverse=True):
        values = dict(override.split("=", 1) for override in job.overrides)
        scores = [job.objective, job.scores.get("test/dice"), job.scores.get("test/iou")]
        table.add_row(
            str(job.number),
            *(values.get(key, "") for key in keys),
            *("" if score is None else f"{score:.4f}" for score in scores),
            _state(job),
        )
    table.add_section()
    for row in rows:
        told = [str(row.scores.get(key, "")) for key in SCORES]
        values = row.values | {"split.fold": "mean ± std"}
        of = f"{row.finished} of {row.folds} folds"
        table.add_row("all", *(values.get(key, "") for key in keys), *told, of)
    console.print(table)
    for row in rows:
        of = " ".join(f"{key}={row.values[key]}" for key in keys if key in row.values)
        together = [f"{key} {value:.4f}" for key, value in row.images.items()]
        together += [f"{key} {row.pooled[key]:.4f}" for key in ("test/dice_pooled",) if key in row.pooled]
        if together:
            console.print(f"test images of all folds together{of and f', {of}'}: {', '.join(together)}")
    for job in jobs:
        if job.error:
            console.print(f"job {job.number} {_state(job)}: {job.error}", markup=False)
    for line in lines:
        console.print(line, markup=False)
    console.print(f"sweep: {folder}", markup=False)
    if where:
        console.print(f"compare: {where}", markup=False)


def _state(job: Job) -> str:
    if not job.error:
        return "finished" if job.pruned is None else f"PRUNED at epoch {job.pruned}"
    return "stopped" if job.error.startswith("stopped") else "FAILED"


def varied(overrides: list[list[str]]) -> list[str]:
    """The keys whose values are not the same in every job; all of them if there is one job only."""
    keys: dict[str, set[str]] = {}
    for job in overrides:
        for key, value in (override.split("=", 1) for override in job):
            keys.setdefault(key, set()).add(value)
    return [key for key, values in keys.items() if len(values) > 1 or len(overrides) == 1]
