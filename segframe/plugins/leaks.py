"""A warning before a run trains: nearly the same image in two of its parts makes its scores too good."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any

from segframe.cache import remembered
from segframe.dataset import Dataset
from segframe.hooks import hookimpl
from segframe.split import Part

if TYPE_CHECKING:
    from segframe.experiment import Run
    from segframe.plugins.near_duplicates import Near

log = logging.getLogger("segframe")

MOST_IMAGES, MOST_SHOWN = 10_000, 20  # reading and hashing an image takes about 10 ms

ALGORITHM = 1
"""Raised when other pairs would be found: what was found before is then not believed."""


@hookimpl(wrapper=True)
def segframe_fit(run: Run) -> Generator[None, Any, Any]:
    warn_of_leaks(run.dataset, run.pipeline.parts, run.interrupt.leave)
    return (yield)


def warn_of_leaks(
    dataset: Dataset, parts: Mapping[str, Part], leave: Callable[[], None] = lambda: None
) -> list[Near]:
    """Warn of pairs whose two images lie in different parts; returns them.

    The pairs of a data set are found once and remembered in the user's cache folder. Turned or mirrored
    copies are not found (segframe/plugins/near_duplicates.py).

    Args:
        leave: called after each image; raises to stop.
    """
    count = sum(len(part.ids) for part in parts.values())
    if count > MOST_IMAGES:
        log.info(
            "%d images are not compared with each other (more than %d): `data show` does it.",
            count,
            MOST_IMAGES,
        )
        return []
    part_of = {name: label for label, part in parts.items() for name in part.ids}
    across = [pair for pair in _pairs(dataset, parts, leave) if part_of[pair.first] != part_of[pair.second]]
    if across:
        told = [
            f"{part_of[pair.first]} {pair.first!r} and {part_of[pair.second]} {pair.second!r} "
            f"({pair.bits} of 256 bits differ)"
            for pair in across[:MOST_SHOWN]
        ]
        log.warning(
            "Nearly the same image in two parts of this run, so that its scores are better than they should "
            "be: %s%s. Look at them; samples of one group stay in one part.",
            "; ".join(told),
            f"; and {len(across) - MOST_SHOWN} more" if len(across) > MOST_SHOWN else "",
        )
    return across


def _pairs(dataset: Dataset, parts: Mapping[str, Part], leave: Callable[[], None]) -> list[Near]:
    """All pairs of the samples, whichever part they are in now: other folds ask for the same ones."""
    from segframe.plugins.near_duplicates import THRESHOLD, Near, near_duplicates

    where = {
        name: (part.split, index)
        for part in parts.values()
        for name, index in zip(part.ids, part.indices, strict=True)
    }
    key = [dataset.content_hash, sorted(where), THRESHOLD, ALGORITHM]

    def images():
        for name in sorted(where):
            leave()
            split, index = where[name]
            yield name, dataset.read(split, [index])[0].image

    def compared():
        if len(where) > 500:
            log.info("comparing %d images with each other, once", len(where))
        return near_duplicates(images())

    return [Near(*pair) for pair in remembered("near_duplicates", key, compared)]
