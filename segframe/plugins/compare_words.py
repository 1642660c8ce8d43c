"""What a comparison says in words: verdicts and conclusions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segframe.plugins.compare_pairs import BETTER, WORSE, seen_from
from segframe.plugins.compare_statistics import ALPHA, LEAST, Difference

OPEN, FEW, FLAT = "not distinguishable", "too few runs", "no spread"


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


def conclusions(found: Mapping[str, Any]) -> list[str]:
    """Sentences on which recipe is better."""
    rows, score = found["recipes"], found["ranked_by"]
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
    about = seen_from(first, found["pairs"])

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
