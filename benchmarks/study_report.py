"""Tables of a study: mean over the seeds with its interval, and differences to the baseline, seed by seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from scipy.stats import t
from study_grids import BASELINES

HEADINGS = {
    "test/iou": "IoU",
    "test/dice": "Dice",
    "test/hd95": "HD95 (px)",
    "test/boundary_error": "boundary error",
}
EXTRA = {
    ("losses", "membrane"): {"test/iou/membrane": "IoU membrane", "test/hd95/membrane": "HD95 membrane (px)"},
    ("upsampling", "membrane"): {"test/iou/membrane": "IoU membrane"},
    "cars": {"test/pixel_accuracy": "pixel accuracy"},
}
COSTS = {
    "parameters": "parameters",
    "checkerboard/period2_share": "period-2 share",
    "checkerboard/nyquist_share": "Nyquist share",
    "checkerboard/constant_pattern": "constant pattern",
}
Run = Mapping[str, Any]


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half the width of its 95 % interval by Student's t, nan of one value.

    Half width = t(0.975, n - 1) s / sqrt(n), s the sample's standard deviation (n - 1): it takes the seeds
    for a sample of a normal distribution, and says nothing of other test images.
    """
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, math.nan
    return mean, float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))


def paired(runs: Sequence[Run], baseline: Sequence[Run], key: str) -> list[float]:
    """Run minus baseline of the same seed, where both have the score."""
    of = {run["seed"]: number_of(run, key) for run in baseline}
    pairs = [(number_of(run, key), of.get(run["seed"])) for run in runs]
    return [ours - theirs for ours, theirs in pairs if ours is not None and theirs is not None]


def number_of(run: Run, key: str) -> float | None:
    """A score, or one of COSTS; None where the run does not have it."""
    if key in run["scores"]:
        return run["scores"][key]
    found: Any = run
    for part in key.split("/"):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def report(study: Mapping[str, Any]) -> str:
    """All tables, as markdown."""
    runs = study["runs"]
    lines = []
    for grid, data in dict.fromkeys((run["grid"], run["data"]) for run in runs):
        chosen = [run for run in runs if (run["grid"], run["data"]) == (grid, data)]
        by_recipe = {
            recipe: [run for run in chosen if run["recipe"] == recipe]
            for recipe in dict.fromkeys(run["recipe"] for run in chosen)
        }
        scores = {**HEADINGS, **EXTRA.get(grid, {}), **EXTRA.get((grid, data), {})}
        lines += [f"### {grid}: {data}", "", *_means(by_recipe, scores), ""]
        base = by_recipe.get(BASELINES.get(grid, ""))
        if base and len(by_recipe) > 1:
            lines += [f"Difference to `{base[0]['recipe']}`, seed by seed:", ""]
            lines += [*_differences(by_recipe, base, scores), ""]
        if grid == "upsampling":
            lines += [*_means(by_recipe, COSTS), ""]
        for epoch in dict.fromkeys(epoch for run in chosen for epoch in run["test_at"]):
            at = {
                recipe: [{**run, "scores": _prefixed(run["test_at"].get(epoch, {}))} for run in of]
                for recipe, of in by_recipe.items()
            }
            lines += [f"Test after epoch {epoch}:", "", *_means(at, scores), ""]
    for failure in study.get("failed", []):
        lines += [f"FAILED {failure['name']}: {failure['log'].splitlines()[-1]}"]
    if study.get("missing"):
        lines += [f"Not run: {', '.join(study['missing'])}"]
    return "\n".join(lines)


def _prefixed(scores: Mapping[str, float]) -> dict[str, float]:
    return {f"test/{key}": value for key, value in scores.items()}


def _means(by_recipe: Mapping[str, Sequence[Run]], headings: Mapping[str, str]) -> list[str]:
    def values(runs: Sequence[Run], key: str) -> list[float]:
        return [value for run in runs if (value := number_of(run, key)) is not None]

    return _table(by_recipe, headings, values, _mean)


def _differences(
    by_recipe: Mapping[str, Sequence[Run]], base: Sequence[Run], headings: Mapping[str, str]
) -> list[str]:
    others = {recipe: runs for recipe, runs in by_recipe.items() if runs is not base}
    return _table(others, headings, lambda runs, key: paired(runs, base, key), _difference)


def _table(by_recipe: Mapping[str, Sequence[Run]], headings: Mapping[str, str], values, cell) -> list[str]:
    """Markdown; a column that no recipe has a number for is left out."""
    found = {key: {recipe: values(runs, key) for recipe, runs in by_recipe.items()} for key in headings}
    keys = [key for key in headings if any(found[key].values())]
    lines = ["| | seeds | " + " | ".join(headings[key] for key in keys) + " |"]
    lines += ["|---|---:|" + "---:|" * len(keys)]
    for recipe in by_recipe:
        cells = [cell(found[key][recipe], _digits(key)) for key in keys]
        seeds = max((len(found[key][recipe]) for key in keys), default=0)
        lines += [f"| `{recipe}` | {seeds} | " + " | ".join(cells) + " |"]
    return lines


def _digits(key: str) -> str:
    """How a number is written: pixels to hundredths, scores to four places, costs to three digits."""
    return ".2f" if "hd95" in key else "d" if key == "parameters" else ".3g" if key in COSTS else ".4f"


def _mean(values: Sequence[float], digits: str) -> str:
    if not values:
        return ""
    if digits == "d":  # a count, the same for every seed
        return ", ".join(f"{value:d}" for value in dict.fromkeys(map(int, values)))
    mean, half = interval(values)
    return f"{mean:{digits}}" if math.isnan(half) or half == 0 else f"{mean:{digits}} ± {half:{digits}}"


def _difference(values: Sequence[float], digits: str) -> str:
    """With the interval's ends, and a star where 0 is outside of it."""
    if not values:
        return ""
    mean, half = interval(values)
    if math.isnan(half):
        return f"{mean:+{digits}}"
    star = " *" if abs(mean) > half else ""
    return f"{mean:+{digits}} ({mean - half:+{digits}} to {mean + half:+{digits}}){star}"
