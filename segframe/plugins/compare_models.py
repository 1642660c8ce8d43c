"""Which of these trained models is better on this test set? The population is images, not trainings.

What is found holds for these very weights. It says nothing about the recipes: another seed may turn it round.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from segframe.errors import SegframeError
from segframe.plugins.compare_pairs import BETTER, WORSE, adjusted, difference_of, pairs_of, seen_from
from segframe.plugins.compare_recipes import check_comparable, recipes_of
from segframe.plugins.compare_run import ComparedRun
from segframe.plugins.compare_statistics import ALPHA, CONFIDENCE, Difference, bootstrap, per_image
from segframe.plugins.compare_words import FLAT, OPEN, verdict

FEW_IMAGES = "too few images"
LEAST_IMAGES = 6
"""With fewer, Wilcoxon's test cannot reach 5 %."""


def compare_models(runs: Sequence[ComparedRun], score: str, baseline: str | None = None) -> dict[str, Any]:
    """The comparison of finished runs, each a model, as JSON; best mean first.

    Args:
        score: one that result.json keeps for each test image: `dice`, `iou/car`, `hd95`, ...
        baseline: the name of the run that the others are compared with; None: all pairs.

    Raises:
        SegframeError: fewer than two are finished, their test images, data or contract differ, or the score
            is not kept for each image.
    """
    notes = [f"{run.name} is left out: {run.state}" for run in runs if run.result is None]
    finished = [run for run in runs if run.result is not None]
    if len(finished) < 2:
        raise SegframeError(
            "compare --models",
            expected="at least two finished runs",
            got=str(len(finished)),
            remedy="Name further runs.",
        )
    check_comparable(finished, score)
    names = _names(finished)
    tables = {name: _table(run, score) for name, run in zip(names, finished, strict=True)}
    _check_same_images(tables)
    larger = finished[0].direction(score)
    labels = {run.folder: recipe.label for recipe in recipes_of(finished)[0] for run in recipe.runs}
    rows = [_row(name, run, labels.get(run.folder, ""), tables[name], score)
            for name, run in zip(names, finished, strict=True)]  # fmt: skip
    rows.sort(key=lambda row: row["mean"] if larger else -row["mean"], reverse=True)
    pairs, told = _pairs([row["model"] for row in rows], tables, larger, baseline)
    images = len(next(iter(tables.values())))
    found = {
        "question": "which of these trained models is better on this test set",
        "population": f"images like the {images} of this test set, taken as independent of each other; "
        "these very weights",
        "score": score,
        "larger_is_better": larger,
        "confidence": CONFIDENCE,
        "alpha": ALPHA,
        "baseline": baseline,
        "models": rows,
        "pairs": pairs,
        "notes": notes + told,
    }
    return {**found, "conclusions": _conclusions(rows, pairs, baseline, score)}


def _names(runs: Sequence[ComparedRun]) -> list[str]:
    """Folder names; whole paths where two have the same."""
    names = [run.name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.folder) for run in runs]


def _table(run: ComparedRun, score: str) -> dict[str, float | None]:
    """{id: score} of the test images."""
    found = run.image_scores(score)
    if not found:
        kept = (run.result or {}).get("per_image", {}).get("test", {})
        raise SegframeError(
            f"--score {score}",
            expected=f"a score that {run.name} keeps for each test image",
            got=", ".join(name for name in kept if name != "id") or "no test images",
            remedy="Name one of these (a pooled score belongs to no image), or runs with a test split.",
        )
    return found


def _check_same_images(tables: dict[str, dict[str, float | None]]) -> None:
    first, theirs = next(iter(tables.items()))
    for name, table in tables.items():
        if table.keys() != theirs.keys():
            raise SegframeError(
                "compare --models",
                expected="models that were scored on the same test images",
                got=f"{len(theirs)} images of {first} and {len(table)} of {name}, "
                f"{len(theirs.keys() & table.keys())} of them the same",
                remedy="Name runs of one split and one fold.",
            )


def _row(
    name: str, run: ComparedRun, recipe: str, table: dict[str, float | None], score: str
) -> dict[str, Any]:
    values = [value for value in table.values() if value is not None]
    if not values:
        raise SegframeError(
            name,
            expected=f"test images with a defined {score}",
            got="none",
            remedy="Compare by another score, or leave this run out.",
        )
    limits = bootstrap(values) if len(values) > 1 and len(set(values)) > 1 else None
    return {
        "model": name,
        "run": str(run.folder),
        "recipe": recipe,
        "seed": run.seed,
        "mean": statistics.fmean(values),
        "median": statistics.median(values),
        "low": limits and limits.low,
        "high": limits and limits.high,
        "images": len(values),
        "pooled": run.score(f"test/{_pooled(score)}"),
        "cost": dict(run.cost),
    }


def _pooled(score: str) -> str:
    base, _, class_name = score.partition("/")
    return f"{base}_pooled/{class_name}" if class_name else f"{base}_pooled"


def _pairs(
    names: Sequence[str], tables: dict[str, dict[str, float | None]], larger: bool, baseline: str | None
) -> tuple[list[dict[str, Any]], list[str]]:
    """Every pair, or each model with the baseline; notes on those that have no image in common."""
    found: dict[tuple[str, str], Difference] = {}
    notes = []
    for a, b in pairs_of(names, baseline):
        both = [(ours, tables[b][name]) for name, ours in tables[a].items()]
        differences = [x - y for x, y in both if x is not None and y is not None]
        if differences:
            found[a, b] = per_image(differences)
        else:
            notes.append(f"{a} and {b} are not compared: no image has a defined score of both")
    p_holm = adjusted(list(found.values()), LEAST_IMAGES)
    pairs = []
    for index, ((a, b), one) in enumerate(found.items()):
        p = p_holm.get(index)
        said = verdict(one, p, larger) if one.n >= LEAST_IMAGES else FEW_IMAGES
        pairs.append({**difference_of(one, a, b, p), "verdict": said})
    return pairs, notes


def _conclusions(
    rows: Sequence[dict[str, Any]], pairs: Sequence[dict[str, Any]], baseline: str | None, score: str
) -> list[str]:
    first = baseline or rows[0]["model"]
    about = seen_from(first, pairs)
    said = []
    for kind, words in (
        (BETTER, "is better than"),
        (WORSE, "is worse than"),
        (OPEN, "is not distinguishable from"),
        (FLAT, "differs by the same amount in each image from"),
    ):
        those = ", ".join(pair["b"] for pair in about if pair["verdict"] == kind)
        if those:
            said.append(f"On this test set {first} {words} {those} by {score}.")
    if any(pair["verdict"] == FEW_IMAGES for pair in about):
        said.append(
            f"With fewer than {LEAST_IMAGES} images that both have a score of, nothing can be concluded."
        )
    return [*said, "This is about these weights. Which recipe is better is the question without --models."]
