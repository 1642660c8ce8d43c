"""What a comparison says in words: verdicts and conclusions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from segframe.errors import SegframeError, nearest
from segframe.plugins.compare_statistics import ALPHA, LEAST, Difference

BETTER, WORSE = "better", "worse"
OPEN, FEW, FLAT = "not distinguishable", "too few runs", "no spread"


def same(baseline: str, labels: Sequence[str]) -> None:
    """Check that the baseline is one of those compared.

    Raises:
        SegframeError: it is not.
    """
    if baseline not in labels:
        raise SegframeError(
            f"--baseline {baseline!r}",
            expected="one of: " + "; ".join(labels),
            got="none of these",
            remedy=nearest(baseline, labels),
        )


def verdict(difference: Difference, p_holm: float | None, larger: bool) -> str:
    """Whether the first is better than the second."""
    if difference.n < LEAST:
        return FEW
    if p_holm is None:
        return FLAT
    low, high = difference.low, difference.high
    if p_holm >= ALPHA or low is None or high is None or low <= 0 <= high:
        return OPEN
    return BETTER if (difference.mean > 0) == larger else WORSE


def difference_of(one: Difference, a: str, b: str, p_holm: float | None) -> dict[str, Any]:
    """The difference a - b for JSON."""
    return {
        "a": a,
        "b": b,
        "difference": one.mean,
        "low": one.low,
        "high": one.high,
        "p": one.p,
        "p_holm": p_holm,
        "effect": one.effect,
        "n": one.n,
        "test": one.test,
    }


def conclusions(found: Mapping[str, Any]) -> list[str]:
    """Sentences on which recipe is better."""
    rows, pairs, score = found["recipes"], found["pairs"], found["ranked_by"]
    few = [row for row in rows if row["val"]["n"] < LEAST]
    said = []
    if few:
        told = ", ".join(f"{row['recipe']} ({row['val']['n']})" for row in few)
        said.append(
            f"Nothing can be concluded about recipes with fewer than {LEAST} {found['unit']}s: {told}. "
            + ("Train more: -m seed=0,1,2,3,4." if found["unit"] == "seed" else "Train more folds.")
        )
    if len(rows) == 1:
        return [*said, "There is one recipe only: nothing to compare."]
    first = found["baseline"] or rows[0]["recipe"]
    about = [
        pair if pair["a"] == first else turned(pair) for pair in pairs if first in (pair["a"], pair["b"])
    ]

    def those(kind: str) -> str:
        return ", ".join(pair["b"] for pair in about if pair["verdict"] == kind)

    if those(BETTER):
        said.append(f"{first} is better than {those(BETTER)} by {score}.")
    if those(WORSE):
        said.append(f"{first} is worse than {those(WORSE)} by {score}.")
    if those(OPEN):
        least = [pair["detectable"] for pair in about if pair["verdict"] == OPEN and pair["detectable"]]
        could = (
            f" Differences of {max(least):.2g} would have been found in 4 of 5 such studies." if least else ""
        )
        said.append(f"{first} is not distinguishable from {those(OPEN)} by {score}.{could}")
    if those(FLAT):
        said.append(
            f"{first} and {those(FLAT)}: the differences do not spread at all, so chance cannot be judged. "
            "Did the seeds change anything?"
        )
    return said


def turned(pair: Mapping[str, Any]) -> dict[str, Any]:
    """The same pair the other way round."""
    negative = {key: None if pair[key] is None else -pair[key] for key in ("difference", "effect")}
    limits = {
        "low": None if pair["high"] is None else -pair["high"],
        "high": None if pair["low"] is None else -pair["low"],
    }
    other = {BETTER: WORSE, WORSE: BETTER}.get(pair["verdict"], pair["verdict"])
    return {**pair, **negative, **limits, "a": pair["b"], "b": pair["a"], "verdict": other}
