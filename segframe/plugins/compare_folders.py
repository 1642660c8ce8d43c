"""Folders of runs, and of sweeps with their jobs."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

from segframe.errors import SegframeError

log = logging.getLogger("segframe")


def runs_in(path: Path) -> Iterator[Path]:
    """The folder itself if it is a run's, else the runs directly in it."""
    if (path / "record.json").is_file():
        yield path
    elif path.is_dir():
        yield from sorted(file.parent for file in path.glob("*/record.json"))


def jobs_of(folder: Path) -> Iterator[Path]:
    """Folders of a sweep's jobs, in their order; a job that never had one is said.

    Raises:
        SegframeError: no job of it has a folder.
    """
    files = sorted(folder.glob("job_*.json"), key=lambda file: int(re.sub(r"\D", "", file.stem) or 0))
    some = False
    for file in files:
        job = json.loads(file.read_text(encoding="utf-8"))
        out_dir = Path(job.get("out_dir", ""))
        # A relative folder is meant from where the sweep was started; runs and sweeps lie side by side.
        places = [out_dir, folder.resolve().parent.parent / out_dir.name] if out_dir.name else []
        here = next((place for place in places if (place / "record.json").is_file()), None)
        if here is not None:
            some = True
            yield here
        else:
            error = job.get("error", "").splitlines()
            log.warning("%s of the sweep has no folder here%s", file.stem, f" ({error[0]})" if error else "")
    if not some:
        raise SegframeError(
            str(folder),
            expected="the folder of a sweep, with job_N.json and the runs that they name",
            got=f"{len(files)} jobs, none with a run's folder",
            remedy="Give the folders of the runs themselves.",
        )
