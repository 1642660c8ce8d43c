"""Runs as recipes: those that differ in nothing but seed, fold and repeat are runs of one recipe."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from segframe.errors import SegframeError
from segframe.plugins.compare_run import ComparedRun

FRACTION = "split.train_fraction"
REPLICATES = ("seed", "split.seed", "split.fold", "split.repeat")
"""What is varied to see how far a score varies."""
NEUTRAL = ("dataset", "metrics", "train.score_test_at")
"""Sections that do not change what is trained: the data are known by their hash, not by their path."""


@dataclass(frozen=True)
class Recipe:
    """The runs of one recipe."""

    label: str
    """The keys in which the recipes differ, as on the command line."""
    differs: Mapping[str, Any]
    """{key: value} of every key in which the recipes differ."""
    runs: tuple[ComparedRun, ...]
    """The finished ones, one for each split and seed."""
    unfinished: tuple[ComparedRun, ...]
    """Those that failed, were stopped, or are still training."""


def recipes_of(runs: Sequence[ComparedRun]) -> tuple[list[Recipe], list[str]]:
    """(recipes in the order of the runs, notes on what was left out).

    A key that one run has and another has not counts as null there: it came with a later version.
    """
    groups: dict[str, list[ComparedRun]] = {}
    for run in runs:
        groups.setdefault(json.dumps(_defining(run), sort_keys=True), []).append(run)
    configs = [_defining(group[0]) for group in groups.values()]
    differing = _differing(configs)
    shown = _shown(configs, differing)
    notes: list[str] = []
    recipes = []
    for config, group in zip(configs, groups.values(), strict=True):
        words = [f"{_on_command_line(key)}={_plain(config.get(key))}" for key in shown]
        label = " ".join(words) or str(config.get("model.name", "all runs"))
        finished, repeated = _one_each(run for run in group if run.result is not None)
        unfinished = tuple(run for run in group if run.result is None)
        if repeated:
            notes.append(
                f"{label}: {len(repeated)} runs repeat a seed and split of another; the newest counts. "
                f"Left out: {', '.join(run.name for run in repeated)}"
            )
        if unfinished:
            told = ", ".join(f"{run.name} ({run.state})" for run in unfinished)
            notes.append(f"{label}: {len(unfinished)} of {len(group)} runs did not finish: {told}")
        differs = {key: config.get(key) for key in differing}
        recipes.append(Recipe(label, differs, tuple(finished), unfinished))
    return recipes, notes


def check_comparable(runs: Sequence[ComparedRun], score: str) -> None:
    """Refuse runs whose numbers mean different things.

    Args:
        score: without its part, such as `dice`.

    Raises:
        SegframeError: their data, their class names or the score's contract differ.
    """
    for what, value_of, remedy in (
        ("data set (content hash)", lambda run: run.data[:12], "Give the runs of one data set."),
        ("list of classes", lambda run: ", ".join(run.class_names), "Give the runs of one data set."),
        (
            f"metric contract of {score}",
            lambda run: json.dumps(run.contract_of(score), sort_keys=True),
            "Train them anew with one version, or compare the runs of each by themselves.",
        ),
    ):
        found: dict[str, list[str]] = {}
        for run in runs:
            found.setdefault(value_of(run), []).append(run.name)
        if len(found) > 1:
            raise SegframeError(
                "compare",
                expected=f"runs of one {what}",
                got="; ".join(f"{value} in {_some(names)}" for value, names in found.items()),
                remedy=remedy,
            )


def common_splits(recipes: Sequence[Recipe]) -> tuple[list[str], list[str]]:
    """(splits that every recipe has finished runs of, notes on those left out).

    Raises:
        SegframeError: two recipes have no split in common.
    """
    by_recipe = {recipe.label: dict.fromkeys(run.split for run in recipe.runs) for recipe in recipes}
    every = list(dict.fromkeys(split for splits in by_recipe.values() for split in splits))
    common = [split for split in every if all(split in splits for splits in by_recipe.values())]
    if not common:
        raise SegframeError(
            "compare",
            expected="recipes that were trained, validated and tested on the same samples",
            got="; ".join(
                f"{label}: {len(splits)} splits ({', '.join(split[:8] for split in list(splits)[:3])})"
                for label, splits in by_recipe.items()
            )
            + ", none of them common to all",
            remedy="Give split.seed, split.folds and split.val_fraction the same values in all of them.",
        )
    lacking = {label: len(every) - len(splits) for label, splits in by_recipe.items()}
    notes = []
    if len(common) < len(every):
        told = ", ".join(f"{label} lacks {count}" for label, count in lacking.items() if count)
        notes.append(f"Only {len(common)} of {len(every)} splits count, which all recipes have: {told}")
    return common, notes


def _defining(run: ComparedRun) -> dict[str, Any]:
    def neutral(key: str) -> bool:
        return key in REPLICATES or any(key == name or key.startswith(f"{name}.") for name in NEUTRAL)

    return {key: value for key, value in run.config.items() if value not in (None, {}) and not neutral(key)}


def _differing(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = dict.fromkeys(key for config in configs for key in config)
    return [key for key in keys if len({json.dumps(config.get(key)) for config in configs}) > 1]


def _shown(configs: Sequence[Mapping[str, Any]], differing: Sequence[str]) -> list[str]:
    """Without what follows from a section's name: with adam and sgd in one table, `optimizer=` says it."""

    def follows(key: str, name: str) -> bool:
        value_of: dict[str, str] = {}
        return all(
            value_of.setdefault(json.dumps(config.get(name)), json.dumps(config.get(key)))
            == json.dumps(config.get(key))
            for config in configs
        )

    def owners(key: str) -> Iterable[str]:
        parts = key.split(".")
        names = (".".join([*parts[:length], "name"]) for length in range(1, len(parts)))
        return (name for name in names if name in differing and name != key)

    return [key for key in differing if not any(follows(key, name) for name in owners(key))]


def _one_each(runs: Iterable[ComparedRun]) -> tuple[list[ComparedRun], list[ComparedRun]]:
    """(the newest run of each split and seed, the others)."""
    newest: dict[tuple[str, Any], ComparedRun] = {}
    older = []
    for run in sorted(runs, key=lambda run: (run.folder / "record.json").stat().st_mtime):
        before = newest.get((run.split, run.seed))
        if before is not None:
            older.append(before)
        newest[run.split, run.seed] = run
    return list(newest.values()), older


def _on_command_line(key: str) -> str:
    return key.removesuffix(".name")


def _plain(value: Any) -> str:
    return "null" if value is None else value if isinstance(value, str) else json.dumps(value)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
