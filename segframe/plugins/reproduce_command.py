"""`python -m segframe reproduce RUN`: a finished run once more from its record, and whether it is the same.

    python -m segframe reproduce runs/NAME --check      what of it can be had here; runs nothing
    python -m segframe reproduce runs/NAME
    python -m segframe reproduce RUN_ID --uri http://host:5000 --data here/cells.h5

RUN is a run's folder, or its id in MLflow: its folder need not be on this machine. Exit code 0:
bit-identical (or within a --tolerance that was given), 1: it differs, 2: it cannot run.

docs/reproduce.md says more.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from segframe.errors import SegframeError
from segframe.hooks import hookimpl
from segframe.verb_parser import VerbParser

if TYPE_CHECKING:
    from segframe.manager import Plugins
    from segframe.plugins.reproduce_check import Findings
    from segframe.plugins.reproduce_record import Recorded

log = logging.getLogger("segframe")

TOLERANCE = 1e-3


@hookimpl
def segframe_commands():
    return {"reproduce": ("run a finished run again from its record, and compare", run)}


def run(argv: list[str]) -> int:
    """Exit code 0: bit-identical or within --tolerance, 1: differs, 2: cannot run.

    Raises:
        SegframeError: there is no such run, or what it needs cannot be had.
    """
    words = _parser().parse_args(argv)
    from segframe.manager import plugin_manager
    from segframe.plugins.reproduce_check import examine
    from segframe.plugins.reproduce_record import recorded

    with TemporaryDirectory(prefix="segframe-reproduce-") as scratch:
        before = recorded(words.run, words.runs_dir, words.uri, Path(scratch))
        if words.diff:
            return _write_diff(before, words.diff)
        plugins = plugin_manager()
        out = _folder(words, before)
        # A check leaves nothing behind: folds are dealt in the scratch folder then.
        folds_in = Path(scratch) if words.check else out.parent
        config = _config(before, out, folds_in, words.data)
        found = examine(before, plugins, config, folds_in)
        _tell(found)
        missing = [*found.missing, *([] if words.anyway else found.plugins)]
        if missing:
            raise SegframeError(
                f"reproduce {before.name}",
                expected="what the run had: its data, and its plugins",
                got=f"without {'; '.join(missing)}",
                remedy="Bring it"
                + (" (--data PATH says where the file lies now)" if found.missing else "")
                + ("; --anyway goes on without plugins." if found.plugins else "."),
            )
        if words.check:
            return 1 if found.differing or found.plugins else 0
        return _again(words, before, plugins, config, out, found)


def _parser() -> argparse.ArgumentParser:
    parser = VerbParser(
        prog="python -m segframe reproduce",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("run", metavar="RUN", help="a run's folder, or its id in MLflow")
    add("--check", action="store_true", help="only say what differs here: exit code 0 nothing, 1 something")
    add("--out", type=Path, metavar="DIR", help="of the new run (default: RUNS_DIR/reproductions/NAME)")
    add("--data", metavar="PATH", help="where the data file lies now; it must be the same data")
    add(
        "--tolerance", type=float, help=f"of scores, and of losses as a share ({TOLERANCE:g}, for words only)"
    )
    add("--anyway", action="store_true", help="also without plugins that the run had")
    add(
        "--diff",
        type=Path,
        metavar="FILE",
        help="write the uncommitted changes of the run's code, for git apply",
    )
    add(
        "--runs-dir", type=Path, default=Path("runs"), help="where a run's id is sought, and the new run goes"
    )
    add("--uri", help="the MLflow store where a run's id is sought")
    return parser


def _write_diff(before: Recorded, path: Path) -> int:
    from segframe.atomic import write_text

    diff = before.facts.get("git", {}).get("segframe_diff")
    if not diff:
        raise SegframeError(
            f"--diff {path}",
            expected="a run whose code had uncommitted changes",
            got="none in its record",
            remedy="The commit alone is its code.",
        )
    write_text(path, diff)
    log.info("%s: apply it with git apply on commit %s", path, before.facts["git"]["segframe"])
    return 0


def _folder(words: argparse.Namespace, before: Recorded) -> Path:
    """Where the new run goes: an unfinished one of before goes on, a finished one stays as it is.

    Raises:
        SegframeError: --out has a finished run.
    """
    from segframe.record import FINISHED, Record, find, new_folder

    if words.out:
        if Record(words.out).status() == FINISHED:
            raise SegframeError(
                f"--out {words.out}",
                expected="a new folder",
                got="one with a finished run: it would be compared as it is",
                remedy="Name another one.",
            )
        return words.out.absolute()
    place = words.runs_dir.absolute() / "reproductions"
    there = find(place, before.name)
    unfinished = there and Record(there[-1]).status() != FINISHED
    return there[-1] if unfinished else new_folder(place, before.name)


def _config(before: Recorded, out: Path, runs_dir: Path, data: str | None) -> dict[str, Any]:
    """The recorded config, with the threads of then, no tracker, and its place."""
    config = {**before.config, "run_dir": str(out), "runs_dir": str(runs_dir), "tracker": {"name": "none"}}
    # Runs from before there was train.norm_statistics were scored with those of training.
    config["train"] = {"norm_statistics": "running", **config["train"], "resume": "auto"}
    config["device"] = {**config.get("device", {}), "threads": before.facts.get("threads")}
    if data is not None:
        if "path" not in config["dataset"]:
            raise SegframeError(
                "--data",
                expected="a run whose dataset has a path",
                got=f"dataset {config['dataset']['name']!r}",
                remedy="Leave it away: such data are made or fetched, not read from a file of yours.",
            )
        config["dataset"] = {**config["dataset"], "path": str(Path(data).expanduser().absolute())}
    return config


def _tell(found: Findings) -> None:
    for line in found.plugins + found.missing:
        log.warning("missing: %s", line)
    for line in found.differing:
        log.warning("not as it was: %s", line)
    for line in found.hints:
        log.info("%s", line)
    if not (found.plugins or found.missing or found.differing):
        log.info("All is as it was: code, plugins, data, software, device.")


def _again(
    words: argparse.Namespace,
    before: Recorded,
    plugins: Plugins,
    config: dict[str, Any],
    out: Path,
    found: Findings,
) -> int:
    from segframe.atomic import write_json
    from segframe.experiment import run_experiment
    from segframe.plugins.reproduce_compare import (
        DIFFERS,
        IDENTICAL,
        compared,
        operations_that_differ,
    )
    from segframe.plugins.reproduce_record import recorded
    from segframe.plugins.reproduce_words import told

    log.info("Running %s again, in %s", before.name, out)
    with contextlib.chdir(before.started_in):  # relative paths of the config are meant from there
        run_experiment(plugins, config)
    after = recorded(str(out), words.runs_dir, words.uri, out)
    tolerance = TOLERANCE if words.tolerance is None else words.tolerance
    verdict = {
        "run": before.name,
        **compared(before, after, tolerance),
        "not_as_it_was": found.differing + operations_that_differ(before, after),
    }
    write_json(out / "reproduction.json", verdict)
    for line in told(verdict):
        print(line)
    print(f"all numbers: {out / 'reproduction.json'}")
    if verdict["verdict"] == IDENTICAL:
        return 0
    return 1 if verdict["verdict"] == DIFFERS or words.tolerance is None else 0
