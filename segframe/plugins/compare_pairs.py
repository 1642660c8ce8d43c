"""Pairs of what is compared: which ones are tested, and a pair seen from either of the two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from segframe.errors import SegframeError, nearest
from segframe.plugins.compare_statistics import Difference, holm

BETTER, WORSE = "better", "worse"


def pairs_of(names: Sequence[str], baseline: str | None) -> list[tuple[str, str]]:
    """Every pair, or each of the others with the baseline.

    Raises:
        SegframeError: the baseline is none of them.
    """
    if baseline is None:
        return list(combinations(names, 2))
    if baseline not in names:
        raise SegframeError(
            f"--baseline {baseline!r}",
            expected="one of: " + "; ".join(names),
            got="none of these",
            remedy=nearest(baseline, names),
        )
    return [(name, baseline) for name in names if name != baseline]


def adjusted(found: Sequence[Difference], least: int) -> dict[int, float]:
    """{index: p by Holm} over those that can be tested: with a p value, of `least` values or more."""
    p_values = {index: one.p for index, one in enumerate(found) if one.n >= least and one.p is not None}
    return dict(zip(p_values, holm(list(p_values.values())), strict=True))


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


def seen_from(first: str, pairs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The pairs that `first` is in, as `first` minus the other."""
    return [pair if pair["a"] == first else turned(pair) for pair in pairs if first in (pair["a"], pair["b"])]


def turned(pair: Mapping[str, Any]) -> dict[str, Any]:
    """The same pair the other way round."""
    negative = {key: None if pair[key] is None else -pair[key] for key in ("difference", "effect")}
    limits = {
        "low": None if pair["high"] is None else -pair["high"],
        "high": None if pair["low"] is None else -pair["low"],
    }
    other = {BETTER: WORSE, WORSE: BETTER}.get(pair["verdict"], pair["verdict"])
    return {**pair, **negative, **limits, "a": pair["b"], "b": pair["a"], "verdict": other}
