"""`python -m segframe track RUN_DIR`: hand a run in to a tracker that could not be reached then."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from segframe.hooks import hookimpl

log = logging.getLogger("segframe")


@hookimpl
def segframe_commands():
    return {"track": ("hand a run's folder in to its tracker", run)}


def run(argv: list[str]) -> int:
    """Exit code 1 if the tracker still cannot be reached.

    Raises:
        SegframeError: RUN_DIR is not a run's folder, or a process is working in it.
    """
    parser = argparse.ArgumentParser(prog="python -m segframe track", description=__doc__)
    parser.add_argument("run_dir", type=Path, nargs="+")
    folders = parser.parse_args(argv).run_dir
    from segframe.catalog import build
    from segframe.manager import plugin_manager
    from segframe.record import Record
    from segframe.tracking import hand_in

    plugins, code = plugin_manager(), 0
    for folder in folders:
        record = Record(folder)
        config = record.config()
        tracker = build(plugins, "tracker", config["tracker"])
        with record.lock():
            try:
                hand_in(tracker, record)
                log.info("%s is handed in.", folder)
            except Exception as error:
                log.warning("%s: the tracker cannot be reached: %s: %s", folder, type(error).__name__, error)
                code = 1
    return code
