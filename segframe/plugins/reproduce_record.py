"""What is left of a run, as `reproduce` needs it: from its folder, or from MLflow alone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segframe.errors import SegframeError
from segframe.record import FINISHED, Record

FILES = ("config.yaml", "record.json", "history.json", "result.json")
"""What MLflow keeps of it; the weights are known there by their digest only."""


@dataclass(frozen=True)
class Recorded:
    """A finished run's record."""

    name: str
    folder: Path
    """Of the run, or where the files from MLflow lie for now."""
    config: Mapping[str, Any]
    facts: Mapping[str, Any]
    """record.json."""
    history: Sequence[Mapping[str, Any]]
    result: Mapping[str, Any]

    @property
    def started_in(self) -> Path:
        """Where relative paths of the config are meant from; here, if that is gone."""
        folder = Path(self.facts.get("started_in", "."))
        return folder if folder.is_dir() else Path.cwd()


def recorded(run: str, runs_dir: Path, uri: str | None, scratch: Path) -> Recorded:
    """The record of a run.

    Args:
        run: its folder, a file in it, or its id in MLflow.
        scratch: where files from MLflow are put, if its folder is not on this machine.

    Raises:
        SegframeError: there is no such run, or it is not finished: there is nothing to compare with.
    """
    from segframe.plugins.compare_collect import Collector

    path = Path(run).expanduser()
    if path.is_file():
        path = path.parent
    if not path.exists() and re.fullmatch("[0-9a-f]{32}", run):
        (path,) = Collector(runs_dir, uri, scratch, FILES).runs([run])
    record = Record(path)
    try:
        config, facts, result = record.config(), record.read("record.json"), record.read("result.json")
        history = record.read("history.json") or []
    except json.JSONDecodeError as error:
        raise SegframeError(
            str(path),
            expected="a run's record",
            got=f"a damaged file ({error})",
            remedy="MLflow may have it whole: give the run's id.",
        ) from error
    state = record.status() or (FINISHED if result else "not finished")
    if facts is None or result is None or state != FINISHED:
        raise SegframeError(
            str(path),
            expected="a finished run, to compare with",
            got=f"one that is {state}",
            remedy="The command that started it finishes it.",
        )
    return Recorded(path.resolve().name, path.resolve(), config, facts, history, result)
