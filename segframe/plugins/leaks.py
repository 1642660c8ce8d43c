"""A warning before a run trains: nearly the same image in two of its parts makes its scores too good."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any

from segframe.atomic import write_json
from segframe.cache import cache_folder
from segframe.dataset import Dataset
from segframe.errors import SegframeError
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
    memory = None
    try:
        folder = cache_folder() / "near_duplicates"
        folder.mkdir(exist_ok=True)
        memory = folder / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]}.json"
        return [Near(*pair) for pair in json.loads(memory.read_text(encoding="utf-8"))]
    except (SegframeError, OSError, ValueError, TypeError) as error:
        log.debug("the images have not been compared before: %s", error)

    def images():
        for name in sorted(where):
            leave()
            split, index = where[name]
            yield name, dataset.read(split, [index])[0].image

    if len(where) > 500:
        log.info("comparing %d images with each other, once", len(where))
    found = near_duplicates(images())
    try:
        if memory is not None:
            write_json(memory, found)
    except OSError as error:
        log.debug("that the images were compared cannot be remembered: %s", error)
    return found
