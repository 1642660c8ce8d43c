"""Flips and quarter turns at prediction: the logits of all of them, brought back, averaged."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

VIEWS: dict[str, tuple[tuple[int, bool], ...]] = {
    "none": ((0, False),),
    "flips": ((0, False), (0, True), (2, False), (2, True)),
    "turns": ((0, False), (1, False), (2, False), (3, False)),
    "all": tuple((turns, flip) for turns in range(4) for flip in (False, True)),
}
"""{name: (quarter turns, whether flipped left to right before)}; a half turn and a flip is an upside-down."""


def averaged(logits: Callable[[np.ndarray], np.ndarray], views: str) -> Callable[[np.ndarray], np.ndarray]:
    """The mean of what `logits` says of all views of the images, each turned back.

    Args:
        logits: (batch, height, width, channels) -> (batch, height, width, num_classes) float32.
        views: a key of VIEWS.
    """
    import numpy as np

    if views == "none":
        return logits

    def mean(images: np.ndarray) -> np.ndarray:
        total = one(images, *VIEWS[views][0])
        for turns, flip in VIEWS[views][1:]:
            total = total + one(images, turns, flip)
        return total / np.float32(len(VIEWS[views]))

    def one(images: np.ndarray, turns: int, flip: bool) -> np.ndarray:
        view = np.rot90(images[:, :, ::-1] if flip else images, turns, axes=(1, 2))
        found = np.rot90(logits(np.ascontiguousarray(view)), -turns, axes=(1, 2))
        return found[:, :, ::-1] if flip else found

    return mean
