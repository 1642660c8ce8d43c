"""The values that a comparison of recipes is made over: seeds on one split, or splits over their seeds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from segframe.plugins.compare_recipes import Recipe
from segframe.plugins.compare_statistics import LEAST, Difference, paired, welch

Scores = Mapping[str, Mapping[Any, float]]
"""{split: {seed: score}}."""


def scores_of(recipe: Recipe, key: str, splits: Sequence[str]) -> dict[str, dict[Any, float]]:
    """The recipe's scores on these splits; without those that are undefined."""
    found: dict[str, dict[Any, float]] = {split: {} for split in splits}
    for run in recipe.runs:
        value = run.score(key)
        if run.split in found and value is not None:
            found[run.split][run.seed] = value
    return {split: by_seed for split, by_seed in found.items() if by_seed}


def units_of(scores: Scores) -> list[float]:
    """What varies independently: the seeds' scores on one split, or the mean over the seeds of each split."""
    if len(scores) == 1:
        return list(next(iter(scores.values())).values())
    return [statistics.fmean(by_seed.values()) for by_seed in scores.values()]


def ratio_of(recipes: Sequence[Recipe], part: str, splits: Sequence[str]) -> float:
    """n_eval / n_train, the mean over the splits; 0 for one split. Of other train sizes the smallest counts:
    it corrects most."""
    if len(splits) == 1:
        return 0.0
    trained: dict[str, list[int]] = {}
    scored: dict[str, int] = {}
    for run in (run for recipe in recipes for run in recipe.runs):
        trained.setdefault(run.split, []).append(len(run.samples["train"]))
        scored[run.split] = len(run.samples.get(part, ()))
    return statistics.fmean(scored[split] / max(min(trained[split]), 1) for split in splits)


def difference_between(ours: Scores, theirs: Scores, ratio: float) -> Difference:
    """Ours minus theirs: paired by split and seed; by Welch's test where too few seeds are common."""
    if len(ours) > 1:
        return paired([_of_split(ours[split], theirs[split]) for split in ours], ratio)
    ((first,), (second,)) = ours.values(), theirs.values()
    common = [seed for seed in first if seed in second]
    if len(common) >= LEAST or first.keys() == second.keys():
        return paired([first[seed] - second[seed] for seed in common])
    return welch(list(first.values()), list(second.values()))


def _of_split(ours: Mapping[Any, float], theirs: Mapping[Any, float]) -> float:
    """Mean difference over the seeds that both have; of the means where they have none in common."""
    common = [seed for seed in ours if seed in theirs]
    if common:
        return statistics.fmean(ours[seed] - theirs[seed] for seed in common)
    return statistics.fmean(ours.values()) - statistics.fmean(theirs.values())
