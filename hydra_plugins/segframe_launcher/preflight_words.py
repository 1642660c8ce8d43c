"""What a preflight says: a table of the combinations, and what the whole sweep will cost."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydra_plugins.segframe_launcher.sweep_table import varied

if TYPE_CHECKING:
    from hydra_plugins.segframe_launcher.preflight import Tried

log = logging.getLogger("segframe")

NAMED = 6
"""So many jobs of a combination are named, the others counted."""


def report(tried: Sequence[Tried], at_once: int | None) -> None:
    """Print the table and the totals; warn if the jobs that run at once need more memory than is free."""
    from rich.console import Console
    from rich.table import Table

    console = Console(
        stderr=True, highlight=False, soft_wrap=True, width=None if sys.stderr.isatty() else 160
    )
    jobs = [job for one in tried for job in one.jobs]
    keys = [key for key in varied([one.jobs[0].overrides for one in tried]) if len(tried) > 1]
    table = Table(title=f"Preflight: {_counted(len(tried), 'combination')} of {_counted(len(jobs), 'job')}")
    for heading in ("jobs", *keys, "batch", "parameters", "step", "memory", "GPU memory", "a job, about"):
        table.add_column(heading, overflow="fold")
    for one in tried:
        values = dict(override.split("=", 1) for override in one.jobs[0].overrides)
        found, seconds = one.found, [one.seconds(job) for job in one.jobs]
        numbers = [str(job.number) for job in one.jobs[:NAMED]]
        more = f" +{len(one.jobs) - NAMED}" if len(one.jobs) > NAMED else ""
        table.add_row(
            ", ".join(numbers) + more,
            *(values.get(key, "") for key in keys),
            "x".join(map(str, found["batch"])),
            f"{found['parameters']:,}",
            f"{1000 * found['step']:.3g} ms",
            gib(found["memory_mib"]),
            "" if found["gpu_memory_mib"] is None else gib(found["gpu_memory_mib"]),
            _between(min(seconds), max(seconds)),
        )
    console.print(table)
    total = sum(one.seconds(job) for one in tried for job in one.jobs)
    together = min(at_once or 1, len(jobs))
    log.info(
        "%s about %s%s: steps and evaluations as measured, without what plugins and trackers add.",
        "The job takes" if len(jobs) == 1 else f"{len(jobs)} jobs take",
        duration(total / together),
        f", {together} at once" if together > 1 else "",
    )
    need = max(one.found["memory_mib"] for one in tried) * together
    if at_once is not None:
        _warn_of_memory(need, together)


def _warn_of_memory(need_mib: float, together: int) -> None:
    import psutil

    free = psutil.virtual_memory().available / 2**20
    if need_mib > free:
        log.warning(
            "%s need about %s of memory; %s are free. Run fewer at once, or smaller ones.",
            f"{together} jobs at once" if together > 1 else "A job may",
            gib(need_mib),
            gib(free),
        )


def duration(seconds: float) -> str:
    """In the unit that suits: "35 s", "12 min", "3.4 h", "2.1 days"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def gib(mib: float) -> str:
    return f"{mib / 1024:.1f} GiB"


def _between(low: float, high: float) -> str:
    return duration(low) if duration(low) == duration(high) else f"{duration(low)} to {duration(high)}"


def _counted(count: int, one: str) -> str:
    return f"{count} {one}{'' if count == 1 else 's'}"
