"""`python -m segframe track RUN_DIR`: hand a run in to a tracker that could not be reached then."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from segframe.errors import SegframeError
from segframe.hooks import hookimpl
from segframe.verb_parser import VerbParser

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
    from segframe.catalog import build
    from segframe.hiding import with_secrets
    from segframe.manager import plugin_manager
    from segframe.record import Record
    from segframe.tracking import hand_in

    plugins, code = plugin_manager(), 0
    for folder in options.run_dir:
        record = Record(folder.resolve())
        config = record.config()
        if config["tracker"]["name"] == "none":
            raise SegframeError(
                str(folder),
                expected="a run with a tracker",
                got="tracker=none in its config",
                remedy="Set tracker in its config.yaml to that of conf/tracker/mlflow.yaml.",
            )
        facts = record.read("record.json") or {}
        # A relative store is meant from where the run was started.
        started_in = Path(facts.get("started_in", "."))
        if not started_in.is_dir():
            log.warning("%s is gone, where the run was started: its tracker is sought from here.", started_in)
            started_in = Path(".")
        if options.uri:
            config["tracker"] |= {"uri": options.uri}
        config = with_secrets(config)
        with contextlib.chdir(Path(".") if options.uri else started_in):
            tracker = build(plugins, "tracker", config["tracker"])
        with record.lock():
            parent = (record.read("sweep.json") or {}).get("parent")
            try:
                hand_in(tracker, record, parent)
                log.info("%s is handed in.", folder)
            except Exception as error:
                log.warning("%s: the tracker cannot be reached: %s: %s", folder, type(error).__name__, error)
                code = 1
    return code
