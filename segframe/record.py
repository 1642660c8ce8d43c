"""A run's folder: what is in it, and what state the run is in. The folder is the truth; trackers mirror it.

RUN_DIR/
  config.yaml        the resolved config, whole
  record.json        identity, versions, git commit and changes, data, metric contract, normalisation, machine
  status.json        running, finished, failed, interrupted or pruned; with the error, process and host
  history.json       one entry per finished epoch
  checkpoint.h5      everything that a resumed run needs (segframe.checkpoint)
  costs.json         operations, memory, time of a step, energy (segframe.plugins.costs)
  result.json        the scores, of a finished run only
  evaluations/*      NAME.json, NAME.csv: scores on other data (`python -m segframe evaluate`)
  sweep.json         the tracker's id of the sweep that the run is a job of, if it is one
  per_image.csv      every test image's scores (validation's, where there is no test split)
  per_image_test_at.csv   the same after each epoch of train.score_test_at
  model.weights.h5   the chosen weights, with config, normalisation and class names as attributes
  saved_model/       raw images -> logits, without segframe
  figures/*.png      overlays and curves; the test images after each epoch of train.score_test_at
  run.log            what was said
"""

from __future__ import annotations

import glob
import json
import logging
import os
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
from omegaconf import OmegaConf

from segframe.atomic import write_json, write_text
from segframe.errors import SegframeError
from segframe.hiding import hide
from segframe.interrupt import Pruned

log = logging.getLogger("segframe")

RUNNING, FINISHED, FAILED, INTERRUPTED, PRUNED = "running", "finished", "failed", "interrupted", "pruned"


class Record:
    """Reads and writes a run's folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def read(self, name: str) -> Any:
        """A JSON file of the folder, or None where it is not there."""
        try:
            return json.loads((self.folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None

    def write(self, name: str, value: Any) -> None:
        write_json(self.folder / name, value)

    def config(self) -> dict[str, Any]:
        """The resolved config of the run.

        Raises:
            SegframeError: the folder is not a run's.
        """
        try:
            return OmegaConf.to_container(OmegaConf.load(self.folder / "config.yaml"))  # type: ignore[return-value]
        except FileNotFoundError:
            raise SegframeError(
                str(self.folder),
                expected="the folder of a run",
                got="no config.yaml in it",
                remedy="Give the folder that the run's summary names.",
            ) from None

    def write_config(self, config: Mapping[str, Any]) -> None:
        write_text(self.folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(dict(config))))

    def status(self) -> str | None:
        """Its state, or None before it started. `running` may also mean killed: see `locked`."""
        status = self.read("status.json")
        return status and status["state"]

    def set_status(self, state: str, error: str = "") -> None:
        self.write(
            "status.json", {"state": state, "error": error, "pid": os.getpid(), "host": socket.gethostname()}
        )

    @contextmanager
    def lock(self, wait: bool = False) -> Iterator[None]:
        """Hold this while working in the folder: released by the system when the process dies.

        Args:
            wait: until another process that holds it is through with the run.

        Raises:
            SegframeError: another process holds it.
        """
        lock = filelock.FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            status = self.read("status.json") or {}
            who = f"process {status.get('pid', '?')} on {status.get('host', '?')}"
            if not wait:
                raise SegframeError(
                    str(self.folder),
                    expected="a run that no other process is working on",
                    got=f"one that {who} is running",
                    remedy="Wait for it, end it, or use train.resume=never for a run of its own.",
                ) from None
            log.info("Waiting for %s, which is working on %s.", who, self.folder)
            lock.acquire(poll_interval=1)
        try:
            yield
        finally:
            lock.release()


def ending(error: BaseException) -> tuple[str, str]:
    """(state, error text without secrets) of a run that ends with this."""
    if isinstance(error, Pruned):
        return PRUNED, str(error)
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, str(error)
    return FAILED, hide(f"{type(error).__name__}: {error}")


def find(runs_dir: Path, name: str) -> list[Path]:
    """Folders of the runs of this name, oldest first: NAME, NAME-2, ...; train.resume=never adds one.

    Earlier ones may have been deleted; the number says which is the newest.
    """
    numbered = {}
    for folder in runs_dir.glob(f"{glob.escape(name)}*"):
        found = re.fullmatch(re.escape(name) + r"(?:-(\d+))?", folder.name)
        if found and folder.is_dir():
            numbered[int(found.group(1) or 1)] = folder
    return [numbered[number] for number in sorted(numbered)]


def new_folder(runs_dir: Path, name: str) -> Path:
    """The next folder of this name: one above the newest that there is."""
    there = find(runs_dir, name)
    if not there:
        return runs_dir / name
    newest = there[-1].name.removeprefix(name).removeprefix("-") or "1"
    return runs_dir / f"{name}-{int(newest) + 1}"
