"""optimizer.schedule: its keys, their ranges, and the learning rate that is made of them."""

from __future__ import annotations

from typing import Any, Literal

from typing_extensions import TypedDict

from segframe.errors import SegframeError
from segframe.plugins import ranges


class ScheduleSection(TypedDict):
    """The keys, all of them given; the formula is segframe.plugins.schedules.WarmUpThenDecay's."""

    __pydantic_config__ = {"extra": "forbid"}  # type: ignore[misc]

    name: Literal["constant", "cosine", "polynomial", "one_cycle"]
    warmup_steps: int
    final_fraction: float
    power: float


CONSTANT: ScheduleSection = {  # type: ignore[typeddict-item]  # mypy takes pydantic's setting for a key
    "name": "constant",
    "warmup_steps": 0,
    "final_fraction": 0.0,
    "power": 1.0,
}


def check_schedule(total_steps: int, schedule: ScheduleSection) -> None:
    """Check the ranges, and that a step is left after the warm-up."""
    ranges.at_least_zero("optimizer.schedule.warmup_steps", schedule["warmup_steps"])
    ranges.from_zero_to_one("optimizer.schedule.final_fraction", schedule["final_fraction"])
    ranges.above_zero("optimizer.schedule.power", schedule["power"])
    if schedule["name"] == "one_cycle" and schedule["warmup_steps"] == 0:
        raise SegframeError(
            "optimizer.schedule.warmup_steps",
            expected="1 or more with one_cycle: the steps of its rise",
            got="0",
            remedy=f"Give {max(1, round(0.3 * total_steps))}, 3/10 of the run's {total_steps} steps.",
        )
    if schedule["warmup_steps"] >= total_steps:
        raise SegframeError(
            "optimizer.schedule.warmup_steps",
            expected=f"fewer than the run's {total_steps} steps",
            got=repr(schedule["warmup_steps"]),
            remedy="Give fewer, or train for more epochs.",
        )


def learning_rate_of(total_steps: int, learning_rate: float, schedule: ScheduleSection) -> Any:
    """A plain number where nothing changes it, so that optimizer.learning_rate stays a variable."""
    if schedule["name"] == "constant" and not schedule["warmup_steps"]:
        return learning_rate
    from segframe.plugins.schedules import WarmUpThenDecay

    section: dict[str, Any] = {**schedule}
    return WarmUpThenDecay(
        kind=section.pop("name"), learning_rate=learning_rate, total_steps=total_steps, **section
    )
