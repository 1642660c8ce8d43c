"""Which folder a run works in: its own from before, or a new one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segframe.errors import SegframeError
from segframe.identity import differences, run_name
from segframe.record import FINISHED, Record, find, new_folder

log = logging.getLogger("segframe")


def run_folder(config: Mapping[str, Any], own: Mapping[str, Any]) -> tuple[Record, bool]:
    """The run's folder and whether it is new.

    Args:
        config: train.resume, runs_dir and run_dir say where and how.
        own: what makes the run this run (segframe.identity).

    Raises:
        SegframeError: the folder holds another run, nothing is there to resume, or it cannot be written.
    """
    resume, runs_dir, name = config["train"]["resume"], Path(config["runs_dir"]), run_name(own)
    if config["run_dir"] is not None:
        folder = Path(config["run_dir"])
        there = [folder] if (folder / "record.json").exists() else []
        if not there and folder.is_dir() and not all(_ours(file) for file in folder.iterdir()):
            raise SegframeError(
                "run_dir",
                expected="a new or empty folder, or that of a run",
                got=f"{folder}, which holds other files",
                remedy="Name another folder.",
            )
        if there and resume == "never":
            raise SegframeError(
                "run_dir",
                expected="a new folder with train.resume=never",
                got=f"{folder}, which holds a run",
                remedy="Name another folder.",
            )
    else:
        there = find(runs_dir, name)
        folder = new_folder(runs_dir, name)
    if resume != "never" and there:
        record = Record(there[-1])
        theirs = (record.read("record.json") or {}).get("identity")
        if theirs is not None:
            _refuse_other(record.folder, own, theirs)
            if record.status() != FINISHED:
                log.info("Resuming %s", record.folder)
            return record, False
        folder = there[-1]  # killed before its record was written: nothing to resume
    if resume == "must":
        raise SegframeError(
            "train.resume=must",
            expected=f"a run of this config, data and code in {runs_dir}",
            got="none",
            remedy=f"{_nearest_run(runs_dir, own)}Use train.resume=auto to start it.",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        raise SegframeError(
            str(folder),
            expected="a folder to write the run to",
            got=str(error),
            remedy="Name a folder that you may write to: runs_dir=PATH (or run_dir=PATH).",
        ) from error
    return Record(folder), True


def _ours(file: Path) -> bool:
    """Whether a run that was killed before its record was written may have left this file."""
    return file.name.startswith(".") or file.name in ("run.log", "sweep.json")


def _refuse_other(folder: Path, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    differing = differences(ours, theirs)
    if differing:
        raise SegframeError(
            str(folder),
            expected="a run of this config, data and code",
            got=f"one that differs in {'; '.join(differing)}",
            remedy="Change that back, or name another run_dir.",
        )


def _nearest_run(runs_dir: Path, own: Mapping[str, Any]) -> str:
    """Of the runs that are there, the one that differs least, in words."""
    found = []
    for file in sorted(runs_dir.glob("*/record.json")):
        differing = differences(own, (Record(file.parent).read("record.json") or {}).get("identity", {}))
        found.append((len(differing), file.parent, differing))
    if not found:
        return ""
    _, folder, differing = min(found, key=lambda entry: entry[0])
    return f"The nearest, {folder}, differs in {'; '.join(differing)}. "
