"""Which recipe is better? The population is training runs; validation ranks, test is shown as final."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from segframe.errors import SegframeError
from segframe.plugins.compare_pairs import BETTER, WORSE, adjusted, difference_of, pairs_of, seen_from
from segframe.plugins.compare_recipes import FRACTION, Recipe, check_comparable, common_splits, recipes_of
from segframe.plugins.compare_run import COSTS, ComparedRun
from segframe.plugins.compare_statistics import (
    ALPHA,
    CONFIDENCE,
    LEAST,
    POWER,
    Difference,
    detectable,
    interval,
)
from segframe.plugins.compare_units import Scores, difference_between, ratio_of, scores_of, units_of
from segframe.plugins.compare_words import conclusions, verdict


def compare_recipes(runs: Sequence[ComparedRun], score: str, baseline: str | None = None) -> dict[str, Any]:
    """The comparison as JSON, best recipe first.

    Args:
        score: without its part: `dice`, `iou/car`, `hd95`.
        baseline: the label of the recipe that the others are compared with; None: all pairs.

    Raises:
        SegframeError: the runs cannot be ranked: nothing is finished, data, contract or split differ, no
            run has the score on validation, or no recipe has the baseline's label.
    """
    check_comparable([run for run in runs if run.result is not None], score)
    recipes, notes = recipes_of(runs)
    notes += [f"{recipe.label}: no finished run, left out" for recipe in recipes if not recipe.runs]
    recipes, scored = _with_score([recipe for recipe in recipes if recipe.runs], f"val/{score}")
    notes += scored
    larger = recipes[0].runs[0].direction(score)
    splits, told = common_splits(recipes)
    notes += told
    notes += [*_differing_software(recipes), *_differing_updates(recipes)]
    val = {recipe.label: scores_of(recipe, f"val/{score}", splits) for recipe in recipes}
    test = {recipe.label: scores_of(recipe, f"test/{score}", splits) for recipe in recipes}
    ratio = {part: ratio_of(recipes, part, splits) for part in ("val", "test")}
    sign = 1 if larger else -1
    recipes.sort(key=lambda recipe: sign * statistics.fmean(units_of(val[recipe.label])), reverse=True)
    pairs, told = _pairs(recipes, val, ratio["val"], larger, baseline)
    rows = []
    for recipe in recipes:
        rows.append(
            {
                "recipe": recipe.label,
                "differs": dict(recipe.differs),
                "train_samples": _train_samples(recipe),
                "ranks": _ranks(recipe.label, recipes, pairs) if baseline is None else None,
                "runs": [{"run": str(run.folder), "seed": run.seed, "split": run.split[:8],
                          "val": run.score(f"val/{score}"), "test": run.score(f"test/{score}")}
                         for run in recipe.runs],
                "unfinished": [str(run.folder) for run in recipe.unfinished],
                "val": _interval(units_of(val[recipe.label]), ratio["val"]),
                "test": _interval(units_of(test[recipe.label]), ratio["test"]),
                "cost": _cost(recipe),
            }
        )  # fmt: skip
    found = {
        "question": "which recipe is better",
        "population": _population(recipes, splits, ratio["val"]),
        "score": score,
        "larger_is_better": larger,
        "ranked_by": f"val/{score}",
        "confidence": CONFIDENCE,
        "alpha": ALPHA,
        "power": POWER,
        "unit": "seed" if len(splits) == 1 else "split",
        "baseline": baseline,
        "recipes": rows,
        "pairs": pairs,
        "notes": notes + told,
    }
    return {**found, "conclusions": conclusions(found)}


def _with_score(recipes: list[Recipe], key: str) -> tuple[list[Recipe], list[str]]:
    """The recipes with their runs that have the score."""
    kept, notes = [], []
    for recipe in recipes:
        without = [run for run in recipe.runs if run.score(key) is None]
        if without:
            notes.append(f"{recipe.label}: {key} is undefined in {', '.join(run.name for run in without)}")
        runs = tuple(run for run in recipe.runs if run.score(key) is not None)
        if runs:
            kept.append(Recipe(recipe.label, recipe.differs, runs, recipe.unfinished))
    if not kept:
        there = {name for recipe in recipes for run in recipe.runs for name in (run.result or {})["scores"]}
        raise SegframeError(
            key,
            expected="a score of finished runs that is defined on validation, which ranks",
            got=", ".join(sorted(name for name in there if name.startswith("val/"))) or "no finished run",
            remedy="Name one of them with --score, without val/. Test scores rank nothing.",
        )
    return kept, notes


def _pairs(
    recipes: Sequence[Recipe], val: Mapping[str, Scores], ratio: float, larger: bool, baseline: str | None
) -> tuple[list[dict[str, Any]], list[str]]:
    """Every pair, or each recipe with the baseline; Holm over those that can be tested."""
    chosen = pairs_of([recipe.label for recipe in recipes], baseline)
    notes = []
    found: list[Difference] = []
    for a, b in chosen:
        difference = difference_between(val[a], val[b], ratio)
        found.append(difference)
        if len(val[a]) == 1 and [*val[a].values()][0].keys() != [*val[b].values()][0].keys():
            how = f"over {difference.n} seeds that both have" if "paired" in difference.test else "unpaired"
            notes.append(f"{a} and {b} have other seeds: compared {how}")
    p_holm = adjusted(found, LEAST)
    pairs = []
    for index, ((a, b), one) in enumerate(zip(chosen, found, strict=True)):
        told = difference_of(one, a, b, p_holm.get(index))
        told["detectable"] = (
            detectable(one.error, one.df, len(p_holm)) if one.error and index in p_holm else None
        )
        told["verdict"] = verdict(one, p_holm.get(index), larger)
        pairs.append(told)
    return pairs, notes


def _ranks(label: str, recipes: Sequence[Recipe], pairs: Sequence[Mapping[str, Any]]) -> list[int]:
    """[best, worst] place that the tests leave open."""
    verdicts = [pair["verdict"] for pair in seen_from(label, pairs)]
    return [1 + verdicts.count(WORSE), len(recipes) - verdicts.count(BETTER)]


def _interval(values: Sequence[float], ratio: float) -> dict[str, Any] | None:
    return interval(values, ratio)._asdict() if values else None


def _cost(recipe: Recipe) -> dict[str, float]:
    """The median over the runs of what all of them have recorded."""
    keys = [key for key in COSTS if all(key in run.cost for run in recipe.runs)]
    return {key: statistics.median(run.cost[key] for run in recipe.runs) for key in keys}


def _population(recipes: Sequence[Recipe], splits: Sequence[str], ratio: float) -> str:
    samples = {part: str(len(ids)) for part, ids in recipes[0].runs[0].samples.items()}
    if len(splits) == 1:
        trained = sorted({_train_samples(recipe) for recipe in recipes})
        samples["train"] = f"{trained[0]} to {trained[-1]}" if len(trained) > 1 else samples["train"]
        counts = ", ".join(f"{count} {part}" for part, count in samples.items())
        return f"training runs with other seeds on one split of the data (images: {counts})"
    return (
        f"training runs on other splits of these data: {len(splits)} splits, each the mean of its seeds; "
        f"variance corrected by n_val/n_train = {ratio:.3g} (Nadeau and Bengio 2003)"
    )


def _train_samples(recipe: Recipe) -> int:
    """The median over the runs: folds differ by a few."""
    return round(statistics.median(len(run.samples["train"]) for run in recipe.runs))


def _differing_updates(recipes: Sequence[Recipe]) -> list[str]:
    """With fewer samples an epoch has fewer steps, and less training is what a learning curve shows then."""
    if len({recipe.differs.get(FRACTION) for recipe in recipes}) < 2:
        return []
    steps = sorted({run.history[-1]["step"] for recipe in recipes for run in recipe.runs if run.history})
    if len(steps) < 2:
        return []
    return [
        f"Smaller shares of the data had fewer weight updates too, {steps[0]:,} to {steps[-1]:,} a run: "
        "train.steps_per_epoch=N gives all the same number"
    ]


def _differing_software(recipes: Sequence[Recipe]) -> list[str]:
    runs = [run for recipe in recipes for run in recipe.runs]
    notes = []
    codes, machines = {run.code for run in runs}, {run.machine for run in runs}
    if len(codes) > 1:
        notes.append(f"The runs were made by {len(codes)} versions of the code: what differs may be that")
    if len(machines) > 1:
        notes.append(f"Times are of different machines: {'; '.join(sorted(machines))}")
    return notes
