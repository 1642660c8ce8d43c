"""A sweep started again: the same folder and parent run, jobs that are finished left as they are.

SWEEP_DIR/sweep.json: the tracker's id of the parent run, and the runs of the first launch by name.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import filelock

from segframe.errors import SegframeError
from segframe.identity import run_name
from segframe.record import FAILED, FINISHED, Record, find

if TYPE_CHECKING:
    from hydra_plugins.segframe_launcher.launcher import Composed

log = logging.getLogger("segframe")

ENDED_BY = "ended by "
"""How the error of a job begins that a signal killed: it did nothing wrong itself."""


class Outcome(NamedTuple):
    """What a job came to in an earlier sweep."""

    record: Record
    result: Mapping[str, Any]
    """result.json of a finished run, else empty."""
    error: str
    """Empty if it finished."""


def earlier(folder: Path, names: Sequence[str]) -> Path:
    """The newest sweep beside `folder` that began with these very runs; `folder` itself if there is none."""
    for file in sorted(folder.parent.glob("*/sweep.json"), reverse=True):
        if json.loads(file.read_text(encoding="utf-8"))["runs"] == sorted(names):
            log.info("Going on with the sweep in %s.", file.parent)
            if folder.resolve() != file.parent.resolve():
                forget(folder)
            return file.parent
    return folder


def outcomes(jobs: Sequence[Composed], retry_failed: bool) -> dict[int, Outcome]:
    """{a job's number: what became of it}, of those that are not to be started."""
    found = {job.number: outcome(job.config, job.name, retry_failed) for job in jobs}
    return {number: known for number, known in found.items() if known is not None}


def outcome(config: Mapping[str, Any], name: str, retry_failed: bool) -> Outcome | None:
    """What became of a job's run; None if it is to be started: new, cut off, or to be tried again."""
    own = config["run_dir"]
    there = [Path(own)] if own is not None else find(Path(config["runs_dir"]), name)
    if config["train"]["resume"] == "never" or not there:
        return None
    record = Record(there[-1])
    status, facts = record.read("status.json"), record.read("record.json")
    if status is None or facts is None or run_name(facts["identity"]) != name:
        return None  # where run_dir holds another run, the job itself says so
    if status["state"] == FINISHED:
        return Outcome(record, record.read("result.json"), "")
    if status["state"] == FAILED and not status["error"].startswith(ENDED_BY) and not retry_failed:
        return Outcome(record, {}, f"{status['error']} (before; sweep.retry_failed=true tries it again)")
    return None


def lock(folder: Path) -> filelock.BaseFileLock:
    """Held by the one process that works on a sweep; the system releases it when the process dies.

    Raises:
        SegframeError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    held = filelock.FileLock(folder / ".lock")
    try:
        held.acquire(timeout=0)
    except filelock.Timeout:
        raise SegframeError(
            str(folder),
            expected="a sweep that no other process is working on",
            got="one that a process is running",
            remedy="Wait for it, end it, or name another folder: hydra.sweep.dir=PATH.",
        ) from None
    return held


def forget(folder: Path) -> None:
    """Remove the folder of a sweep that never began: Hydra has written its multirun.yaml there."""
    if {file.name for file in folder.glob("*")} <= {"multirun.yaml"}:
        shutil.rmtree(folder, ignore_errors=True)
