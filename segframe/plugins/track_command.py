"""`python -m segframe track RUN_DIR`: hand a run in to a tracker that could not be reached then."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from segframe.errors import SegframeError
from segframe.hooks import hookimpl
from segframe.verb_parser import VerbParser

if TYPE_CHECKING:
    from segframe.manager import Plugins
    from segframe.record import Record
    from segframe.tracker import Tracker

log = logging.getLogger("segframe")


@hookimpl
def segframe_commands():
    return {"track": ("hand a run's folder in to its tracker", run)}


def run(argv: list[str]) -> int:
    """Exit code 1 if the tracker still cannot be reached.

    Raises:
        SegframeError: RUN_DIR is not a run's folder, or a process is working in it.
    """
    parser = VerbParser(prog="python -m segframe track", description=__doc__)
    parser.add_argument("run_dir", type=Path, nargs="+")
    parser.add_argument("--uri", help="another store than its config names, such as http://host:5000")
    options = parser.parse_args(argv)
    from segframe.manager import plugin_manager
    from segframe.record import Record
    from segframe.tracking import hand_in

    plugins, code = plugin_manager(), 0
    for folder in options.run_dir:
        record = Record(folder.resolve())
        tracker = tracker_of(record, plugins, options.uri)
        if tracker is None:
            raise SegframeError(
                str(folder),
                expected="a run with a tracker",
                got="tracker=none in its config",
                remedy="Set tracker in its config.yaml to that of conf/tracker/mlflow.yaml.",
            )
        with record.lock():
            parent = (record.read("sweep.json") or {}).get("parent")
            try:
                hand_in(tracker, record, parent)
                log.info("%s is handed in.", folder)
            except Exception as error:
                log.warning("%s: the tracker cannot be reached: %s: %s", folder, type(error).__name__, error)
                code = 1
    return code


def tracker_of(record: Record, plugins: Plugins, uri: str | None = None) -> Tracker | None:
    """The tracker of a run; None if it has none. A relative store is meant from where the run was started.

    Args:
        uri: another store than its config names, from here.
    """
    from segframe.catalog import build
    from segframe.hiding import with_secrets

    config = record.config()
    if config["tracker"]["name"] == "none":
        return None
    started_in = Path((record.read("record.json") or {}).get("started_in", "."))
    if not started_in.is_dir():
        log.warning("%s is gone, where the run was started: its tracker is sought from here.", started_in)
        started_in = Path(".")
    if uri:
        config["tracker"] |= {"uri": uri}
    config = with_secrets(config)
    with contextlib.chdir(Path(".") if uri else started_in):
        return build(plugins, "tracker", config["tracker"])
