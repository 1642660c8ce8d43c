"""Range checks of builders' arguments: the types are the catalog's matter, the values are the builder's."""

from __future__ import annotations

import math
from collections.abc import Callable

from segframe.errors import SegframeError


def above_zero(key: str, value: float) -> None:
    _require(key, value, lambda: value > 0, "a number above 0")


def at_least_zero(key: str, value: float) -> None:
    at_least(key, value, 0)


def at_least(key: str, value: float, low: float) -> None:
    _require(key, value, lambda: value >= low, f"a number of at least {low:g}")


def from_zero_to_one(key: str, value: float) -> None:
    _require(key, value, lambda: 0 <= value <= 1, "a number from 0 to 1")


def below_one(key: str, value: float) -> None:
    _require(key, value, lambda: 0 <= value < 1, "a number from 0 to below 1")


def _require(key: str, value: float, holds: Callable[[], bool], expected: str) -> None:
    if not (math.isfinite(value) and holds()):
        raise SegframeError(key, expected=expected, got=repr(value), remedy=f"Give {key}=... {expected}.")
