"""The tables and the plot of docs/cars.md, from what the cars' benchmarks wrote.

    python benchmarks/study.py cars --data DIR --out cars.json
    python benchmarks/cars_pytorch.py DIR/cars.h5 --decoder same,double --out cars_pytorch.json
    python benchmarks/cars_report.py cars.json cars_pytorch.json --plot docs/cars_loss.png

Prints markdown: test scores beside the slides', then those of each test image; mean over the seeds, and their
range. The plot has the training loss of each recipe by epoch: faint each seed, strong the mean. The folder of
a run may stand for a JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segframe.figures import DPI, PALETTE, save
from segframe.record import FINISHED, Record

KEYS = {"iou": "IoU", "dice": "Dice", "pixel_accuracy": "pixel accuracy"}
SLIDES = {
    "adam": {"30": (0.431, 0.501, 0.291), "60": (0.727, 0.747, 0.419), "90": (0.657, 0.704, 0.393)},
    "sgd": {"30": (0.395, 0.459, 0.273), "60": (0.698, 0.733, 0.408), "90": (0.677, 0.717, 0.401)},
    "pytorch": {"30": (0.270, 0.234, 0.189), "60": (0.713, 0.260, 0.406), "90": (0.782, 0.256, 0.433)},
}
"""What the slides print, in the order of KEYS, by the first word of a recipe; docs/cars.md doubts it."""
Runs = Sequence[Mapping[str, Any]]


def read(path: Path) -> list[dict[str, Any]]:
    """The runs of a benchmark's JSON, or the run of a folder."""
    if not path.is_dir():
        found = json.loads(path.read_text(encoding="utf-8"))["runs"]
        return [run for run in found if run.get("grid", "cars") == "cars"]
    record = Record(path)
    if record.status() != FINISHED:
        raise SystemExit(f"{path}: expected the folder of a finished run, this one is {record.status()}")
    config, result, history = record.config(), record.read("result.json"), record.read("history.json")
    run = {key: result[key] for key in ("test_at", "per_image_test_at")}
    run["history"] = {"train/loss": [epoch["train/loss"] for epoch in history]}
    return [{"recipe": config["optimizer"]["name"], "seed": config["seed"], "words": [], **run}]


def by_recipe(runs: Runs) -> dict[str, list[Mapping[str, Any]]]:
    """Runs by the name of their recipe; further words of the command line are part of it."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        more = [word for word in run["words"] if not word.startswith("experiment=")]
        found.setdefault(" ".join([run["recipe"], *more]), []).append(run)
    return found


def beside_the_slides(recipes: Mapping[str, Runs]) -> list[str]:
    """A row for each recipe and epoch."""
    lines = ["| | epochs | " + " | ".join(f"{name} | slides" for name in KEYS.values()) + " |"]
    lines.append("|---|---:|" + "---:|---:|" * len(KEYS))
    for recipe, runs in recipes.items():
        for epoch in runs[0]["test_at"]:
            slides = SLIDES.get(recipe.split()[0], {}).get(epoch, ("",) * len(KEYS))
            cells = [
                f"{spread([run['test_at'][epoch][key] for run in runs])} | {theirs}"
                for key, theirs in zip(KEYS, slides, strict=True)
            ]
            lines.append(f"| {recipe}, {len(runs)} seeds | {epoch} | " + " | ".join(cells) + " |")
    return lines


def image_by_image(runs: Runs) -> list[str]:
    """A row for each test image, a column for each score and epoch."""
    epochs = list(runs[0]["per_image_test_at"])
    columns = [(key, epoch) for key in KEYS for epoch in epochs]
    lines = ["| test image | " + " | ".join(f"{KEYS[key]} {epoch}" for key, epoch in columns) + " |"]
    lines.append("|---|" + "---:|" * len(columns))
    for position, name in enumerate(runs[0]["per_image_test_at"][epochs[0]]["id"]):
        cells = [
            spread([run["per_image_test_at"][epoch][key][position] for run in runs]) for key, epoch in columns
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    means = [spread([run["test_at"][epoch][key] for run in runs]) for key, epoch in columns]
    return [*lines, "| mean | " + " | ".join(means) + " |"]


def spread(values: Sequence[float | None]) -> str:
    """`mean (lowest to highest)`; one value stands alone."""
    defined = [value for value in values if value is not None]
    if not defined:
        return "undefined"
    mean = f"{statistics.fmean(defined):.3f}"
    return mean if len(defined) == 1 else f"{mean} ({min(defined):.3f} to {max(defined):.3f})"


def plot_losses(path: Path, recipes: Mapping[str, Runs]) -> None:
    """The training losses of all runs in one figure, on a logarithmic scale."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7.2, 3.8), dpi=DPI, layout="constrained")
    axis = figure.subplots()
    colours = (PALETTE[4], PALETTE[5], PALETTE[2], PALETTE[0], PALETTE[6])
    for number, (recipe, runs) in enumerate(recipes.items()):
        colour = colours[number % len(colours)]
        curves = [run["history"]["train/loss"] for run in runs]
        for curve in curves:
            axis.plot(range(1, len(curve) + 1), curve, color=colour, alpha=0.25, lw=0.8)
        means = [statistics.fmean(values) for values in zip(*curves, strict=True)]
        axis.plot(range(1, len(means) + 1), means, color=colour, label=f"{recipe}: mean of {len(runs)}")
    axis.set_yscale("log")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("epoch")
    axis.set_ylabel("training loss (cross-entropy)")
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=9)
    save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, nargs="+", metavar="RESULT", help="JSON files, folders of runs")
    parser.add_argument("--plot", type=Path, help="PNG of the training losses")
    arguments = parser.parse_args()
    recipes = by_recipe([run for path in arguments.results for run in read(path)])
    print("\n".join(beside_the_slides(recipes)))
    for recipe, runs in recipes.items():
        print("\n".join(["", f"{recipe}, {len(runs)} seeds:", "", *image_by_image(runs)]))
    if arguments.plot:
        plot_losses(arguments.plot, recipes)


if __name__ == "__main__":
    main()
