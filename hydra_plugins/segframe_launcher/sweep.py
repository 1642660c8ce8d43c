"""A sweep as a whole: its parent run in the tracker, its jobs' processes, the table at its end.

SWEEP_DIR/ holds multirun.yaml (Hydra's), sweep.json (resume.py), job_N.yaml (the job's config), job_N.json
(its result or error) and, where folds were swept over, folds.json (fold_rows.py).
"""

from __future__ import annotations

import json
import logging
import math
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from omegaconf import OmegaConf

from hydra_plugins.segframe_launcher import resume
from hydra_plugins.segframe_launcher.fold_rows import fold_rows, tracked
from hydra_plugins.segframe_launcher.sweep_table import print_table
from segframe.atomic import write_json, write_text
from segframe.catalog import build
from segframe.interrupt import Interrupted
from segframe.job import LESS_MEMORY
from segframe.manager import Plugins
from segframe.record import RUNNING, Record
from segframe.tracker import FAILED, FINISHED, KILLED
from segframe.tracking import link

log = logging.getLogger("segframe")

_running: list[Sweep] = []
SECONDS_TO_LEAVE = 5


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

    def run_job(self, number: int, overrides: list[str], config: Mapping[str, Any]) -> float:
        """Run a job in a process of its own, wait for it, and return its objective, nan if it has none."""
        config_file, result_file = self.folder / f"job_{number}.yaml", self.folder / f"job_{number}.json"
        write_text(config_file, OmegaConf.to_yaml(OmegaConf.create(dict(config))))
        result_file.unlink(missing_ok=True)
        command = [
            sys.executable,
            "-m",
            "segframe.job",
            str(config_file),
            str(result_file),
            self.parent or "",
        ]
        process = subprocess.Popen(command)
        with _passing_on_sigterm(process):
            try:
                code = process.wait()
            except KeyboardInterrupt as stop:
                # Ctrl-C reaches the job too: it saves and leaves. Wait for that; a second one ends both.
                self.interrupted = getattr(stop, "signal_number", signal.SIGINT)
                _wait_or_kill(process)
                raise
        found = json.loads(result_file.read_text()) if result_file.exists() else {}
        error = found.get("error", "")
        if code and not error:
            error = _ended_by(-code) if code < 0 else f"exit code {code}"
        out_dir = found.get("out_dir", "")
        if code:
            log.warning("Job %d failed (%s).", number, error.splitlines()[0])
            self._close_run(out_dir, error)
        self.jobs.append(
            Job(
                number,
                overrides,
                found.get("objective"),
                found.get("scores", {}),
                error,
                out_dir,
                found.get("pruned"),
            )
        )
        objective = found.get("objective")
        return math.nan if objective is None or code else objective

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
        status = KILLED if self.interrupted else FAILED if failed else FINISHED
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
        print_table(self.jobs, rows, folder=self.folder, where=self.tracker.where(), lines=lines)
        self.lock.release()
        return 1 if failed else 0


@contextmanager
def _passing_on_sigterm(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """SIGTERM comes to this process alone; the job gets it too, saves and leaves."""

    def stop(number: int, _: object) -> None:
        process.send_signal(number)
        raise Interrupted(number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _wait_or_kill(process: subprocess.Popen[bytes]) -> None:
    """Wait for a job that was told to stop; a second Ctrl-C leaves it a moment, then none."""
    try:
        process.wait()
    except KeyboardInterrupt:
        try:
            process.wait(SECONDS_TO_LEAVE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise


def _ended_by(number: int) -> str:
    """The error of a job that a signal ended."""
    told = f"{resume.ENDED_BY}{signal.Signals(number).name}"
    if number == signal.SIGKILL:
        told += f": perhaps out of memory ({LESS_MEMORY})"
    return told


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


def forget(folder: Path) -> None:
    """Remove the folder of a sweep that never began."""
    if not _running:
        resume.forget(folder)


def conclude() -> int:
    """End the sweep of this process, if there is one; returns the exit code."""
    return _running.pop().end() if _running else 0
