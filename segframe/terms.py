"""The terms of a loss that is made of others: their labels and weights, before the losses are built."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from typing_extensions import TypedDict

from segframe.errors import SegframeError
from segframe.validate import validate


class WeightSchedule(TypedDict):
    """A weight that goes from `start`, in the first epoch, straight to `end`, `epochs` later, and stays."""

    __pydantic_config__ = {"extra": "forbid"}  # type: ignore[misc]

    start: float
    end: float
    epochs: int


def labelled(terms: Any, where: str) -> dict[str, Any]:
    """{label: term} of what a config has; the labels of a list are its positions, "0", "1", ...

    Raises:
        SegframeError: it is neither a mapping nor a list, or it is empty.
    """
    if isinstance(terms, list):
        terms = {str(position): term for position, term in enumerate(terms)}
    if not isinstance(terms, Mapping) or not terms:
        raise SegframeError(
            f"{where}.terms",
            expected="{label: {name, weight, ...}}, or a list of {name, weight, ...}",
            got=repr(terms),
            remedy="See conf/loss/cross_entropy_dice.yaml.",
        )
    return dict(terms)


def without_weight(term: Mapping[str, Any]) -> dict[str, Any]:
    """A term as that loss's own section."""
    return {key: value for key, value in term.items() if key != "weight"}


def weight_of(term: Any, path: str) -> float | WeightSchedule:
    """The weight of a term, checked.

    Args:
        path: the term's, in the config.

    Raises:
        SegframeError: there is none, or it is neither a number of at least 0 nor a schedule between two.
    """
    weight = term.get("weight") if isinstance(term, Mapping) else None
    if isinstance(weight, Mapping):
        schedule: WeightSchedule = validate(WeightSchedule, dict(weight), f"{path}.weight")
        _at_least_zero(schedule["start"], f"{path}.weight.start")
        _at_least_zero(schedule["end"], f"{path}.weight.end")
        if schedule["epochs"] < 1:
            raise SegframeError(
                f"{path}.weight.epochs",
                expected="1 or more",
                got=repr(schedule["epochs"]),
                remedy=f"Give {path}.weight.epochs=1, or a plain number as the weight.",
            )
        return schedule
    _at_least_zero(weight, f"{path}.weight")
    return float(weight)  # type: ignore[arg-type]  # a number: _at_least_zero


def _at_least_zero(value: Any, path: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise SegframeError(
            path,
            expected="a number, 0 or more, or a schedule {start, end, epochs}"
            if path.endswith(".weight")
            else "a number, 0 or more",
            got=repr(value),
            remedy=f"Give {path}=1.0.",
        )


def weight_at(weight: float | WeightSchedule, epoch: int) -> float:
    """The weight in an epoch, counted from 0: start + (end - start) min(epoch / epochs, 1)."""
    if not isinstance(weight, Mapping):
        return weight
    share = min(epoch / weight["epochs"], 1.0)
    return weight["start"] + (weight["end"] - weight["start"]) * share
