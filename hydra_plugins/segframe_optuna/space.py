"""The space of a search, from Hydra's words: interval(), range(), choice() and values with commas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep

from segframe.errors import SegframeError, nearest

if TYPE_CHECKING:
    import optuna

Value = float | int | str


class Choice(NamedTuple):
    """One of these, as words of the command line."""

    values: tuple[str, ...]

    def distribution(self) -> optuna.distributions.BaseDistribution:
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.values)

    def word(self, value: Value) -> str:
        return str(value)

    def to_check(self) -> list[str]:
        return list(self.values)

    def grid(self) -> list[Value] | None:
        return list(self.values)


class Steps(NamedTuple):
    """One of these numbers, which stand in order."""

    values: tuple[int, ...] | tuple[float, ...]

    def distribution(self) -> optuna.distributions.BaseDistribution:
        from optuna.distributions import FloatDistribution, IntDistribution

        low, high = self.values[0], self.values[-1]
        step = self.values[1] - low if len(self.values) > 1 else 1
        if isinstance(low, int):
            return IntDistribution(low, int(high), step=int(step))
        # Of floats the places are searched: Optuna would move an end that rounding has put beside the grid.
        return (
            IntDistribution(0, len(self.values) - 1) if len(self.values) > 1 else FloatDistribution(low, low)
        )

    def word(self, value: Value) -> str:
        if isinstance(self.values[0], int) or len(self.values) == 1:
            return str(value)
        return repr(self.values[int(value)])

    def to_check(self) -> list[str]:
        return [str(value) for value in dict.fromkeys((self.values[0], self.values[-1]))]

    def grid(self) -> list[Value] | None:
        whole = isinstance(self.values[0], int) or len(self.values) == 1
        return list(self.values) if whole else list(range(len(self.values)))


class Interval(NamedTuple):
    """A number from low to high; whole ones include both ends."""

    low: float
    high: float
    log: bool

    def distribution(self) -> optuna.distributions.BaseDistribution:
        from optuna.distributions import FloatDistribution, IntDistribution

        if isinstance(self.low, int):
            return IntDistribution(self.low, int(self.high), log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)

    def word(self, value: Value) -> str:
        return repr(value)

    def to_check(self) -> list[str]:
        return [repr(self.low), repr(self.high)]

    def grid(self) -> list[Value] | None:
        return None


Space = dict[str, Choice | Steps | Interval]


def read_space(overrides: Sequence[Override]) -> tuple[Space, list[str]]:
    """({key: what it may be}, the other overrides) of a command line; the later of two for a key counts.

    Raises:
        SegframeError: nothing is to be searched, or a part of the space makes no sense.
    """
    space: Space = {}
    fixed: dict[str, str] = {}
    for override in overrides:
        key = override.get_key_element()
        space.pop(key, None)
        fixed.pop(key, None)
        if override.is_sweep_override():
            space[key] = _part(key, override)
        else:
            fixed[key] = str(override.input_line)
    if not space:
        raise SegframeError(
            "hydra/sweeper=optuna",
            expected="a key to search over",
            got="fixed values only",
            remedy="Give one, such as 'optimizer.learning_rate=tag(log, interval(1e-5,1e-1))'.",
        )
    return space, list(fixed.values())


def _part(key: str, override: Override) -> Choice | Steps | Interval:
    given = override.value()
    if override.is_hydra_override():
        raise _wrong(key, "a key of a run", key, "Hydra's own keys hold for the search as a whole.")
    tags: set[str] = getattr(given, "tags", set())
    unknown = sorted(tags - {"log"})
    if unknown:
        raise _wrong(key, "the tag log or none", unknown[0], nearest(unknown[0], ["log"]))
    if getattr(given, "shuffle", False):
        raise _wrong(key, "values without an order", "shuffle()", "Leave it out: the sampler chooses.")
    if isinstance(given, IntervalSweep):
        return _interval(key, given)
    if tags:
        raise _wrong(key, "log with an interval", "it with single values", f"{key}='tag(log, interval(a,b))'")
    if isinstance(given, RangeSweep):
        return _steps(key, given)
    values = tuple(dict.fromkeys(override.sweep_string_iterator()))
    if not values or isinstance(given, ChoiceSweep) and not given.list:
        raise _wrong(key, "at least one value", "none", f"{key}='choice(a,b)'")
    return Choice(values)


def _interval(key: str, given: IntervalSweep) -> Interval:
    low, high, log = given.start, given.end, "log" in given.tags
    if not (low is not None and high is not None and low < high and math.isfinite(high - low)):
        raise _wrong(
            key, "an interval from a smaller to a larger number", f"({low}, {high})", "Exchange them."
        )
    if log and low <= 0:
        raise _wrong(
            key,
            "a logarithmic interval above 0",
            f"({low}, {high})",
            "Begin above 0, or leave out tag(log, ...).",
        )
    return Interval(low, high, log)


def _steps(key: str, given: RangeSweep) -> Steps:
    # Hydra adds up floats exactly as they are stored: 0.1 three times is 0.30000000000000004.
    values = tuple(
        sorted(number if isinstance(number, int) else float(f"{number:.12g}") for number in given.range())
    )
    if not values:
        raise _wrong(
            key,
            "a range with values",
            f"range({given.start},{given.stop},{given.step})",
            "The stop is left out.",
        )
    return Steps(values)


def _wrong(key: str, expected: str, got: str, remedy: str) -> SegframeError:
    return SegframeError(key, expected=expected, got=got, remedy=remedy)
