"""A sweep as a whole: its parent run in the tracker, what its jobs left, the table at its end.

SWEEP_DIR/ holds multirun.yaml (Hydra's), sweep.json (resume.py), job_N.yaml (the job's config), job_N.json
(its result or error), job_N.log (what it said, where several run at once) and, where folds were swept over,
folds.json (fold_rows.py).
"""

from __future__ import annotations

import json
import logging
import math
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from omegaconf import OmegaConf

from hydra_plugins.segframe_launcher import resume
from hydra_plugins.segframe_launcher.fold_rows import fold_rows, tracked
from hydra_plugins.segframe_launcher.places import End, Order
from hydra_plugins.segframe_launcher.sweep_table import print_table
from segframe.atomic import write_json, write_text
from segframe.catalog import build
from segframe.hiding import expose, hide, without_secrets
from segframe.manager import Plugins
from segframe.out_of_memory import LESS_MEMORY
from segframe.record import RUNNING, Record
from segframe.tracker import FAILED, FINISHED, KILLED
from segframe.tracking import link

log = logging.getLogger("segframe")

_running: list[Sweep] = []


class Job(NamedTuple):
    """One job that ended."""

    number: int
    overrides: list[str]
    objective: float | None
    scores: dict[str, float | None]
    error: str
    """Empty if it finished."""
    out_dir: str
    pruned: int | None = None
    """The epoch after which a sweeper gave it up."""


class Conclusion(Protocol):
    """What a sweeper adds at the end of a sweep."""

    def scores(self) -> dict[str, float]:
        """For the parent run in the tracker."""

    def tags(self) -> dict[str, str]:
        """For the parent run in the tracker."""

    def lines(self) -> list[str]:
        """To be printed below the table."""


class Sweep:
    """The jobs of one command."""

    def __init__(self, plugins: Plugins, folder: Path, config: Mapping[str, Any], names: Sequence[str] = ()):
        self.folder, self.jobs = folder, []  # type: tuple[Path, list[Job]]
        self.lock = resume.lock(folder)
        self.conclusion: Conclusion | None = None
        without_secrets(config)  # known from here on
        _hide_in(folder / "multirun.yaml")
        self.tracker = build(plugins, "tracker", config["tracker"])
        self.parent: str | None = None
        self.interrupted: int | None = None
        try:
            tags = {"segframe.sweep_dir": str(folder.resolve())}
            known = (Record(folder).read("sweep.json") or {}).get("parent")
            self.parent = self.tracker.open_sweep(folder.name, tags, known)
        except Exception as error:
            log.warning(
                "The tracker cannot be reached (%s: %s). The jobs run without a parent run.",
                type(error).__name__,
                error,
            )
        Record(folder).write("sweep.json", {"parent": self.parent, "runs": sorted(names)})

    def keep_job(self, number: int, overrides: list[str], known: resume.Outcome) -> float:
        """Count a job in that an earlier sweep has ended; returns its objective, nan if it has none."""
        record, result = known.record, known.result
        if self.parent and (record.read("sweep.json") or {}).get("parent") != self.parent:
            record.write("sweep.json", {"parent": self.parent})
            if not known.error:
                link(self.tracker, record, self.parent)
        objective, scores = result.get("objective"), result.get("scores", {})
        self.jobs.append(Job(number, overrides, objective, scores, known.error, str(record.folder)))
        return math.nan if objective is None else objective

    def order(self, number: int, config: Mapping[str, Any], told: str) -> Order:
        """The process of a job, for a place to start: python -m segframe.job."""
        config_file, result_file = self._files(number)
        expose(config)  # to the job's process, while its file holds no secret
        write_text(config_file, OmegaConf.to_yaml(OmegaConf.create(without_secrets(config))))
        result_file.unlink(missing_ok=True)
        command = ["-m", "segframe.job", str(config_file), str(result_file), self.parent or ""]
        return Order(command, self.folder / f"job_{number}.log", told)

    def take_in(self, number: int, overrides: list[str], end: End) -> float:
        """Note how a job ended; returns its objective, nan if it has none."""
        result_file = self._files(number)[1]
        found = json.loads(result_file.read_text()) if result_file.exists() else {}
        error = found.get("error", "")
        if end.code and not error:
            error = end.why or (_ended_by(-end.code) if end.code < 0 else f"exit code {end.code}")
        out_dir = found.get("out_dir", "")
        if end.code:
            if self.interrupted is None:
                log.warning("Job %d failed (%s).", number, error.splitlines()[0])
            if not error.startswith("stopped"):  # then it has ended its run itself, as stopped
                self._close_run(out_dir, error)
        objective, scores, pruned = found.get("objective"), found.get("scores", {}), found.get("pruned")
        self.jobs.append(Job(number, overrides, objective, scores, error, out_dir, pruned))
        return math.nan if objective is None or end.code else objective

    def _files(self, number: int) -> tuple[Path, Path]:
        return self.folder / f"job_{number}.yaml", self.folder / f"job_{number}.json"

    def _close_run(self, out_dir: str, error: str) -> None:
        """A job that was killed could not end its run itself: not in its folder, not in the tracker."""
        if out_dir:
            record = Record(Path(out_dir))
            if record.status() == RUNNING:
                record.set_status(FAILED.lower(), error)
            try:
                self.tracker.close_run(Path(out_dir), FAILED, error)
            except Exception as failure:
                log.warning("Its run in the tracker stays open (%s).", failure)

    def end(self) -> int:
        """Close the parent run, print the table, return the exit code."""
        failed = [job for job in self.jobs if job.error]
        status = KILLED if self.interrupted else FAILED if failed or not self.jobs else FINISHED
        best = [job.objective for job in self.jobs if job.objective is not None]
        rows = fold_rows(self.jobs)
        if rows:
            write_json(self.folder / "folds.json", [row.as_json() for row in rows])
        scores = ({"best/val/dice": max(best)} if best else {}) | tracked(rows)
        end = self.conclusion
        if self.parent is not None:
            try:
                if end is not None:
                    scores |= end.scores()
                    self.tracker.tag_sweep(self.parent, end.tags())
                self.tracker.close_sweep(self.parent, status, scores)
            except Exception as error:
                log.warning("The sweep's parent run stays open in the tracker (%s).", error)
        lines = [] if end is None else end.lines()
        if self.jobs:
            print_table(self.jobs, rows, folder=self.folder, where=self.tracker.where(), lines=lines)
        self.lock.release()
        return 1 if failed else 0


def _ended_by(number: int) -> str:
    """The error of a job that a signal ended."""
    told = f"{resume.ENDED_BY}{signal.Signals(number).name}"
    if number == signal.SIGKILL:
        told += f": perhaps out of memory ({LESS_MEMORY})"
    return told


def _hide_in(file: Path) -> None:
    """Hydra has written the config as it was composed, with what a config file of the user's may hold."""
    if file.exists():
        text = file.read_text(encoding="utf-8")
        if hide(text) != text:
            write_text(file, hide(text))


def begin(plugins: Plugins, folder: Path, config: Mapping[str, Any], names: Sequence[str] = ()) -> Sweep:
    """The sweep of this process; a sweeper that launches several times keeps adding to it.

    Args:
        names: of the runs of its first launch.

    Raises:
        SegframeError: another process works on the sweep of this folder.
    """
    if not _running:
        _running.append(Sweep(plugins, folder, config, names))
    return _running[0]


def has_begun() -> bool:
    """Whether jobs of this process's sweep have been launched before."""
    return bool(_running)


def forget(folder: Path) -> None:
    """Remove the folder of a sweep that never began."""
    if not _running:
        resume.forget(folder)


def conclude() -> int:
    """End the sweep of this process, if there is one; returns the exit code."""
    return _running.pop().end() if _running else 0
