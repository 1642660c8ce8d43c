"""A sweep as a whole: its parent run in the tracker, its jobs' processes, the table at its end.

SWEEP_DIR/ holds multirun.yaml (Hydra's), job_N.yaml (the job's config), job_N.json (its result or error) and,
where folds were swept over, folds.json (fold_rows.py).
"""

from __future__ import annotations

import json
import logging
import math
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from hydra_plugins.segframe_launcher.fold_rows import fold_rows, tracked
from hydra_plugins.segframe_launcher.sweep_table import print_table
from segframe.atomic import write_json, write_text
from segframe.catalog import build
from segframe.hiding import expose, hide, without_secrets
from segframe.interrupt import Interrupted
from segframe.manager import Plugins
from segframe.record import RUNNING, Record
from segframe.tracker import FAILED, FINISHED, KILLED

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


class Sweep:
    """The jobs of one command."""

    def __init__(self, plugins: Plugins, folder: Path, config: Mapping[str, Any]):
        self.folder, self.jobs = folder, []  # type: tuple[Path, list[Job]]
        without_secrets(config)  # known from here on
        _hide_in(folder / "multirun.yaml")
        self.tracker = build(plugins, "tracker", config["tracker"])
        self.parent: str | None = None
        self.interrupted: int | None = None
        try:
            self.parent = self.tracker.open_sweep(folder.name, {"segframe.sweep_dir": str(folder.resolve())})
        except Exception as error:
            log.warning(
                "The tracker cannot be reached (%s: %s). The jobs run without a parent run.",
                type(error).__name__,
                error,
            )

    def run_job(self, number: int, overrides: list[str], config: Mapping[str, Any]) -> float:
        """Run a job in a process of its own, wait for it, and return its objective, nan if it has none."""
        config_file, result_file = self.folder / f"job_{number}.yaml", self.folder / f"job_{number}.json"
        expose(config)  # to the job's process, while its file holds no secret
        write_text(config_file, OmegaConf.to_yaml(OmegaConf.create(without_secrets(config))))
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
                process.wait()
                self.interrupted = getattr(stop, "signal_number", signal.SIGINT)
                raise
        found = json.loads(result_file.read_text()) if result_file.exists() else {}
        error = found.get("error", "")
        if code and not error:
            error = f"ended by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        out_dir = found.get("out_dir", "")
        if code:
            log.warning("Job %d failed (%s).", number, error.splitlines()[0])
            self._close_run(out_dir, error)
        self.jobs.append(
            Job(number, overrides, found.get("objective"), found.get("scores", {}), error, out_dir)
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
        if self.parent is not None:
            try:
                self.tracker.close_sweep(self.parent, status, scores)
            except Exception as error:
                log.warning("The sweep's parent run stays open in the tracker (%s).", error)
        print_table(self.jobs, rows, folder=self.folder, where=self.tracker.where())
        return 1 if failed else 0


def _hide_in(file: Path) -> None:
    """Hydra has written the config as it was composed, with what a config file of the user's may hold."""
    if file.exists():
        text = file.read_text(encoding="utf-8")
        if hide(text) != text:
            write_text(file, hide(text))


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


def begin(plugins: Plugins, folder: Path, config: Mapping[str, Any]) -> Sweep:
    """The sweep of this process; a sweeper that launches several times keeps adding to it."""
    if not _running:
        folder.mkdir(parents=True, exist_ok=True)
        _running.append(Sweep(plugins, folder, config))
    return _running[0]


def forget(folder: Path) -> None:
    """Remove the folder of a sweep that never began: Hydra has written its multirun.yaml there."""
    if not _running and {file.name for file in folder.glob("*")} <= {"multirun.yaml"}:
        shutil.rmtree(folder, ignore_errors=True)


def conclude() -> int:
    """End the sweep of this process, if there is one; returns the exit code."""
    return _running.pop().end() if _running else 0
