"""`python -m segframe compare`: recipes over their seeds and folds, or trained models over test images.

    python -m segframe compare runs                          which recipe is better
    python -m segframe compare --sweep 2026-01-31_12-00-00.000000
    python -m segframe compare runs/A runs/B --models        which of these two models is, on this test set

What the numbers mean: docs/compare.md.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from segframe.errors import SegframeError
from segframe.hooks import hookimpl
from segframe.verb_parser import VerbParser

if TYPE_CHECKING:
    from segframe.plugins.compare_run import ComparedRun

log = logging.getLogger("segframe")


@hookimpl
def segframe_commands() -> dict[str, tuple[str, Callable[[list[str]], int]]]:
    return {"compare": ("which recipe, or which trained model, is better, with intervals", run)}


def run(argv: list[str]) -> int:
    """Print the comparison; write what is asked for.

    Raises:
        SegframeError: there are no such runs, or they cannot be compared.
    """
    options = _options(argv)
    from segframe.plugins.compare_collect import Collector
    from segframe.plugins.compare_run import read_run

    with TemporaryDirectory(prefix="segframe-compare-") as scratch:
        collector = Collector(options.runs_dir, options.uri, Path(scratch))
        folders = collector.runs(options.runs) if options.runs else []
        for sweep in options.sweep:
            folders += collector.sweep(sweep)
        for experiment in options.experiment:
            folders += collector.experiment(experiment)
        unique = {folder.resolve(): folder for folder in folders}.values()
        runs = [read_run(folder) for folder in unique]
        if options.evaluation:
            from segframe.plugins.compare_evaluation import as_evaluated

            runs = [as_evaluated(run, options.evaluation) for run in runs]
        if not runs:
            raise SegframeError(
                "compare",
                expected="runs",
                got="none in what was named",
                remedy="Name runs: compare RUN..., --sweep ID, or --experiment NAME.",
            )
        _compare(runs, options)
    return 0


def _options(argv: list[str]) -> argparse.Namespace:
    parser = VerbParser(
        prog="python -m segframe compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "runs", nargs="*", metavar="RUN", help="a run's folder, a folder of runs, a glob, or an MLflow run id"
    )
    parser.add_argument(
        "--sweep", action="append", default=[], metavar="ID", help="a sweep: its folder, name or MLflow id"
    )
    parser.add_argument(
        "--experiment", action="append", default=[], metavar="NAME", help="all runs of an MLflow experiment"
    )
    parser.add_argument(
        "--score", default="dice", help="dice (default), iou/CLASS, hd95, ...: without val/ or test/"
    )
    parser.add_argument(
        "--baseline",
        metavar="LABEL",
        help="compare with this recipe (or model) only: fewer tests, more power",
    )
    parser.add_argument(
        "--models", action="store_true", help="compare the trained models image by image on the test set"
    )
    parser.add_argument(
        "--evaluation",
        metavar="NAME",
        help="with --models: on the data of this evaluation (segframe evaluate)",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="everything, all pairs too; - for stdout instead of the tables"
    )
    parser.add_argument(
        "--csv", metavar="FILE", help="a line for each recipe or model; - for stdout instead of the tables"
    )
    parser.add_argument("--html", metavar="FILE", help="a report in one file, with figures")
    parser.add_argument(
        "--worst",
        type=int,
        default=4,
        metavar="N",
        help="worst test images drawn in the report; imports TensorFlow, reads the data (default: 4)",
    )
    parser.add_argument(
        "--runs-dir", type=Path, default=Path("runs"), help="where mlflow.db and sweeps lie (default: runs)"
    )
    parser.add_argument("--uri", help="another MLflow store, such as sqlite:///PATH")
    options = parser.parse_args(argv)
    if not (options.runs or options.sweep or options.experiment):
        parser.error("no runs are named")
    if options.evaluation and not options.models:
        parser.error("--evaluation needs --models: validation ranks recipes, and no other data")
    if options.worst < 0:
        parser.error("--worst is below 0")
    return options


def _compare(runs: list[ComparedRun], options: argparse.Namespace) -> None:
    from segframe.plugins.compare_files import write_csv, write_json
    from segframe.plugins.compare_models import compare_models
    from segframe.plugins.compare_table import print_comparison
    from segframe.plugins.compare_training import compare_recipes

    if options.models:
        found = compare_models(runs, options.score, options.baseline)
    else:
        found = compare_recipes(runs, options.score, options.baseline)
    if "-" not in (options.json, options.csv):
        print_comparison(found)
    for path, write in ((options.json, write_json), (options.csv, write_csv)):
        if path:
            write(found, None if path == "-" else Path(path))
    if options.html:
        from segframe.plugins.compare_html import write_html

        write_html(found, runs, Path(options.html), options.worst)
