"""The runs of benchmarks/study.py: which data set, which words of the command line, which seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

SETS = ("membrane", "cars", "camvid")
OWN_NAME = ("membrane", "camvid")
"""Sets whose class 0 is no background: it must count in the distance-aware loss as well."""
LOSSES = ("cross_entropy", "cross_entropy_dice", "distance_aware")
WAYS_UP = ("transpose", "bilinear", "nearest", "subpixel")
BASELINES = {"losses": "cross_entropy", "upsampling": "transpose"}
"""What the other recipes of a grid are compared with, seed by seed."""


@dataclass(frozen=True)
class Job:
    """One run."""

    grid: str
    data: str
    """Name of the file in --data, without .h5."""
    recipe: str
    seed: int
    words: tuple[str, ...]
    """Of the command line, but for data, seed, folders and tracker."""

    @property
    def name(self) -> str:
        return f"{self.grid}-{self.data}-{self.recipe}-{self.seed}"

    @property
    def checkerboard(self) -> bool:
        """Whether its checkerboard is measured."""
        return self.grid == "upsampling"


def losses(seeds: int) -> list[Job]:
    """Three losses on three sets."""

    def words(data: str, loss: str) -> tuple[str, ...]:
        own = ("loss.include_background=true",) if loss == "distance_aware" and data in OWN_NAME else ()
        return ("experiment=losses", f"loss={loss}", *own)

    return [
        Job("losses", data, loss, seed, words(data, loss))
        for seed in range(seeds)
        for loss in LOSSES
        for data in SETS
    ]


def upsampling(seeds: int) -> list[Job]:
    """Four ways up on two sets."""
    return [
        Job("upsampling", data, up, seed, _way_up(up))
        for seed in range(seeds)
        for up in WAYS_UP
        for data in ("membrane", "cars")
    ]


def cars(seeds: int) -> list[Job]:
    """The slides' table."""
    return [
        Job("cars", "cars", optimizer, seed, (f"experiment=cars_{optimizer}",))
        for seed in range(seeds)
        for optimizer in ("adam", "sgd")
    ]


GRIDS = {"losses": losses, "upsampling": upsampling, "cars": cars}
ALL = ("cars", "losses", "upsampling")


def _way_up(up: str) -> tuple[str, ...]:
    return "experiment=upsampling", f"model.upsample={up}"


def queue(grids: Sequence[str], seeds: int, overrides: Iterable[str], only: str = "") -> list[Job]:
    """The jobs in the order in which they start: seed by seed, the grids by turns.

    Args:
        overrides: further words for every job, or for some: PREFIX:word, PREFIX a grid, a set or grid-set.
        only: jobs whose name has this in it.
    """
    chosen = list(ALL) if list(grids) == ["all"] else list(grids)
    by_grid = [GRIDS[grid](seeds) for grid in chosen]
    found = [
        job
        for seed in range(seeds)
        for turn in zip_longest(*([job for job in jobs if job.seed == seed] for jobs in by_grid))
        for job in turn
        if job is not None and only in job.name
    ]
    return [_with(job, list(overrides)) for job in found]


def _with(job: Job, overrides: list[str]) -> Job:
    own = []
    for override in overrides:
        prefix, colon, word = override.partition(":")
        if not colon or "=" in prefix:  # a colon of the value
            own.append(override)
        elif prefix in (job.grid, job.data, f"{job.grid}-{job.data}"):
            own.append(word)
    return replace(job, words=(*job.words, *own))
