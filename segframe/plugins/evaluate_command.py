"""`python -m segframe evaluate RUN [DATA]`: the scores of a finished run on another data set.

    python -m segframe evaluate runs/NAME other.h5
    python -m segframe evaluate runs/NAME other.h5 --split val --metrics surface --class auto=car
    python -m segframe evaluate runs/NAME dataset=cells dataset.difficulty=0.8

RUN is a run's folder, its model.weights.h5, or its id in MLflow. DATA is an HDF5 file, or config words of a
dataset (and of metrics); without it the run's own data, for other metrics or another of its parts.

docs/reproduce.md says more.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from segframe.errors import SegframeError
from segframe.hooks import hookimpl
from segframe.verb_parser import VerbParser

log = logging.getLogger("segframe")

PROGRAM = "python -m segframe evaluate"


@hookimpl
def segframe_commands():
    return {"evaluate": ("scores of a finished run on another data set", run)}


def run(argv: list[str]) -> int:
    """Print the scores of each class; write and track them.

    Raises:
        SegframeError: the run, the data or the metrics are not there, or do not fit each other.
    """
    words = _parser().parse_intermixed_args(argv)
    from segframe.load_model import stored_facts
    from segframe.manager import plugin_manager
    from segframe.metrics import CONTRACT
    from segframe.plugins.evaluate_data import evaluated_data
    from segframe.plugins.evaluate_files import Evaluations
    from segframe.plugins.predict_run import weights_of
    from segframe.record import Record
    from segframe.requested_metrics import build_requested

    plugins = plugin_manager()
    weights = weights_of(words.run, words.runs_dir, words.uri).absolute()
    stored = stored_facts(weights)
    record = Record(weights.parent)
    given = _sections(words.data, words.metrics)
    data = evaluated_data(plugins, record, stored, given.get("dataset"), words.split, words.classes)
    sections = stored["config"].get("metrics") or {} if "metrics" not in given else given["metrics"]
    requested = build_requested(plugins, sections, data.dataset.class_names, **data.mask_facts)
    contract = CONTRACT | ({"requested": requested.contract()} if requested else {})
    evaluations = Evaluations(words.out or weights.parent / "evaluations", words.name or data.name)
    evaluations.check(data.facts, contract, words.force)
    from segframe.quiet import import_tensorflow

    import_tensorflow()
    from segframe.plugins.evaluating import evaluate

    facts, found = evaluate(weights, record, data, requested)
    written = evaluations.write(
        {**facts, "data": data.facts, "metric_contract": contract}, data.part.ids, found
    )
    from rich.console import Console

    from segframe.summary import score_tables

    console = Console(highlight=False, soft_wrap=True)
    scores = {f"{words.split}/{key}": value for key, value in written["scores"].items()}
    title = f"{words.split} of {data.where}: {len(data.part.ids)} images"
    for table in score_tables(scores, words.split, contract, title):
        console.print(table)
    console.print(f"scores: {evaluations.json}; by image: {evaluations.csv}", markup=False)
    if words.track:
        _track(plugins, record, evaluations.json)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = VerbParser(
        prog=PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("run", metavar="RUN", help="a run's folder, its model.weights.h5, or its id in MLflow")
    add("data", metavar="DATA", nargs="*", help="an HDF5 file, or dataset=... dataset.KEY=... metrics...=")
    add("--split", choices=["train", "val", "test"], default="test", help="of the data (test)")
    add(
        "--metrics",
        metavar="NAME",
        help="surface, boundary, all, none, ... (conf/metrics); default: the run's",
    )
    add(
        "--class",
        dest="classes",
        type=_renamed,
        action="append",
        default=[],
        metavar="THEIRS=OURS",
        help="a class of the data is that class of the run; THEIRS= counts nowhere",
    )
    add("--name", help="of the evaluation (default: the data's name and split)")
    add("--out", type=Path, metavar="DIR", help="where NAME.json and NAME.csv go (RUN/evaluations)")
    add("--force", action="store_true", help="replace an evaluation of this name on other data")
    add("--no-track", dest="track", action="store_false", help="do not tell the run's tracker")
    add("--runs-dir", type=Path, default=Path("runs"), help="where a run's id is sought (runs)")
    add("--uri", help="the MLflow store where a run's id is sought")
    return parser


def _renamed(text: str) -> tuple[str, str]:
    theirs, sign, ours = text.partition("=")
    if not sign or not theirs:
        raise argparse.ArgumentTypeError(f"expected THEIRS=OURS, got {text!r}")
    return theirs, ours


def _sections(data: list[str], metrics: str | None) -> dict[str, Any]:
    """The sections `dataset` and `metrics` that the words ask for; neither where they do not.

    Raises:
        SegframeError: a word is about something else, or Hydra cannot compose them.
    """
    files = [word for word in data if "=" not in word or Path(word).exists()]
    words = [word for word in data if word not in files]
    heads = {word.lstrip("+~").partition("=")[0].partition(".")[0] for word in words}
    if len(files) > 1 or (files and "dataset" in heads) or heads - {"dataset", "metrics"}:
        raise SegframeError(
            f"{PROGRAM} DATA",
            expected="one HDF5 file, or words of dataset and metrics",
            got=" ".join(data),
            remedy="For example: other.h5, or dataset=cells dataset.size=64.",
        )
    if metrics is not None:
        words.insert(0, f"metrics={metrics}")
        heads.add("metrics")
    if "dataset" in heads and not any(word.startswith("dataset=") for word in words):
        raise SegframeError(
            f"{PROGRAM} DATA",
            expected="the option of dataset besides its keys",
            got=" ".join(data),
            remedy="Name it: dataset=hdf5 dataset.path=other.h5, say.",
        )
    found: dict[str, Any] = {"dataset": {"name": "hdf5", "path": files[0]}} if files else {}
    return found | {key: value for key, value in _composed(words).items() if key in heads}


def _composed(words: list[str]) -> dict[str, Any]:
    if not words:
        return {}
    from hydra import compose, initialize_config_module

    from segframe.compose import explain, is_config_error, register
    from segframe.train_command import plain

    register()
    try:
        with initialize_config_module("segframe.conf", version_base="1.3"):
            return plain(compose("config", words))
    except Exception as error:
        if is_config_error(error):
            raise explain(error) from error
        raise


def _track(plugins: Any, record: Any, file: Path) -> None:
    """Into the run's tracker; where that cannot be reached, `track` hands it in later."""
    from segframe.plugins.track_command import tracker_of
    from segframe.tracking import hand_in_evaluation

    if not (record.folder / "config.yaml").exists():
        log.info("Not tracked: %s is no run's folder.", record.folder)
        return
    tracker = tracker_of(record, plugins)
    if tracker is None:
        return
    try:
        with tracker.run(record.folder, record.folder.name) as tracked:
            hand_in_evaluation(tracked, file)
    except Exception as error:
        log.warning(
            "The tracker cannot be reached (%s: %s). The scores are in %s; the same command tells it later.",
            type(error).__name__, error, file,
        )  # fmt: skip
