"""Exact squared Euclidean distances of one mask, by SciPy's feature transform.

SciPy says where the nearest pixel is; the distance to it is then computed here, in integers where a pixel
is a unit. Others take a half to a third of the time (benchmarks/distance_maps.py), but a map is made once:
SciPy is there anyway, is exact, and lets other threads run meanwhile.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

FAR = 65535
"""In uint16: 256 px or more away, or nothing to be near to. No sum of two squares is 65535 itself, so all
smaller numbers are exact."""


def to_nearest(there: np.ndarray, spacing: tuple[float, float] | None = None) -> np.ndarray:
    """Squared distance from each pixel's centre to that of the nearest pixel that is there; 0 on those.

    Args:
        there: (height, width) bool.
        spacing: (row, column) in mm, or None to count in pixels.

    Returns:
        (height, width): uint16 in px², FAR from 256 px on or where nothing is there; with a spacing float32
        in mm², +inf where nothing is there.
    """
    if not there.any():  # SciPy would return the distance to something outside the mask
        nothing = np.float32(np.inf) if spacing else np.uint16(FAR)
        return np.full(there.shape, nothing)
    nearest = ndimage.distance_transform_edt(
        ~there, sampling=spacing, return_distances=False, return_indices=True
    )
    return between(nearest, spacing)


def between(nearest: np.ndarray, spacing: tuple[float, float] | None) -> np.ndarray:
    """(2, height, width) int32 row and column of another pixel -> squared distance to it, as `to_nearest`."""
    height, width = nearest.shape[1:]
    rows = nearest[0] - np.arange(height, dtype=np.int32)[:, None]
    columns = nearest[1] - np.arange(width, dtype=np.int32)
    if spacing:
        return (np.square(rows * spacing[0]) + np.square(columns * spacing[1])).astype(np.float32)
    # Clipped before squaring: 256² is far already, and the square of 46,341 px would leave int32.
    rows, columns = (np.minimum(np.abs(steps), 256) for steps in (rows, columns))
    return np.minimum(rows * rows + columns * columns, FAR).astype(np.uint16)
