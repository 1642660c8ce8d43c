"""The two nearest instances of each pixel, for the border weights of the U-Net paper."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from segframe_losses.distance import FAR, between, to_nearest

FIRST_MARGIN = 32  # px; a first guess: a small box costs little


def instances(mask: np.ndarray, num_classes: int) -> np.ndarray:
    """(height, width) int32 numbers from 1 of the 8-connected components of classes 1 and up; 0 elsewhere."""
    numbered = np.zeros(mask.shape, np.int32)
    count = 0
    for class_id in range(1, num_classes):
        found, more = ndimage.label(mask == class_id, structure=np.ones((3, 3)))
        numbered += np.where(found, found + count, 0).astype(np.int32)
        count += more
    return numbered


def two_nearest(numbered: np.ndarray, spacing: tuple[float, float] | None) -> np.ndarray:
    """Squared distances from each pixel to the nearest instance and to the nearest other one.

    Exact. The second one is looked for in the region that is nearest to an instance, with a margin that
    grows until no pixel outside the box can be nearer than what was found in it: time goes with the number
    of pixels, not with pixels times instances.

    Args:
        numbered: (height, width) int32, 0 where there is no instance.

    Returns:
        (height, width, 2), the smaller first; dtype, unit and what is far as segframe_losses.distance.
    """
    far = to_nearest(np.zeros_like(numbered, bool), spacing)
    if not numbered.any():
        return np.stack([far, far], axis=-1)
    nearest = ndimage.distance_transform_edt(
        numbered == 0, sampling=spacing, return_distances=False, return_indices=True
    )
    second = far
    regions = numbered[nearest[0], nearest[1]]
    for number, box in enumerate(ndimage.find_objects(regions), start=1):
        _second_in(second, number, box, numbered, regions, spacing)
    return np.stack([between(nearest, spacing), second], axis=-1)


def _second_in(second, number, box, numbered, regions, spacing) -> None:
    """Fill `second` where region `number` lies, within `box`."""
    height, width = numbered.shape
    margin = FIRST_MARGIN
    while True:
        top, left = max(box[0].start - margin, 0), max(box[1].start - margin, 0)
        bottom, right = min(box[0].stop + margin, height), min(box[1].stop + margin, width)
        seen = numbered[top:bottom, left:right]
        own = regions[top:bottom, left:right] == number
        found = to_nearest((seen != 0) & (seen != number), spacing)[own]
        whole = (bottom - top, right - left) == (height, width)
        # From 256 px on, a uint16 says "far" whatever lies there.
        enough = (margin * min(spacing)) ** 2 if spacing else FAR if margin >= 256 else margin**2
        if whole or found.max() <= enough:
            second[top:bottom, left:right][own] = found
            return
        margin *= 2
