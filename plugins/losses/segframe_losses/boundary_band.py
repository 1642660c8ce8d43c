"""How wrong a prediction is near the boundaries of the mask: errors in a band around them."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt

from segframe_losses.surface_metrics import ROUNDING


class BoundaryBand:
    """boundary_error: the share of the valid pixels near a boundary of the mask whose prediction is wrong.

    A boundary pixel is a valid pixel that has a neighbour above, below, left or right which is valid and of
    another class; so a boundary is two pixels wide, one of each class. The band is the valid pixels within
    `band` of the nearest boundary pixel, between pixel centres, both ends included: 3 px make a band of at
    most 8 pixels across a straight boundary.

    Exact and Euclidean; about linear in the number of pixels. The prediction does not move the band, so
    errors far from every boundary do not count, and scores of different networks are over the same pixels.

    Ignored pixels are not counted and make no boundary: where the mask says nothing, there may or may not be
    one. An image without a boundary (one class, or no two classes side by side) is not defined (nan).

    Args:
        ignore_index: the id of ignored pixels in the mask.
        spacing: (row, column) distance of pixel centres in mm, or None.
        band: half the width of the band.
        band_unit: "px" or "mm"; mm needs a spacing. A band in pixels counts rows and columns as 1 whatever
            the spacing.

    Source:
        Kohli, Ladicky and Torr, Robust Higher Order Potentials for Enforcing Label Consistency, IJCV 82
        (2009), the "trimap" evaluation, https://doi.org/10.1007/s11263-008-0202-0; per image and
        as in Csurka et al., What is a good evaluation measure for semantic segmentation?, BMVC 2013.
    """

    larger_is_better = {"boundary_error": False}

    def __init__(self, ignore_index: int, spacing: tuple[float, float] | None, band: float, band_unit: str):
        self.ignore_index, self.band = ignore_index, float(band)
        in_mm = band_unit == "mm" and spacing is not None
        self.sampling = (float(spacing[0]), float(spacing[1])) if in_mm and spacing else (1.0, 1.0)
        self.contract: dict[str, Any] = {
            "units": {"boundary_error": ""},
            "spacing_mm": None if spacing is None else list(spacing),
            "band": f"{band:g} {band_unit}",
            "boundary": "valid pixels of the mask with one of 4 neighbours of another valid class",
            "boundary_error": "share of the valid pixels within the band whose predicted class is wrong",
            "undefined": "image without a boundary: left out of means",
            "ignored": "pixels that are not counted, next to which is no boundary",
            "version": 1,
        }

    def __call__(self, mask: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
        """Score of one image.

        Args:
            mask: (height, width) integer class ids, ignore_index where nothing is known.
            prediction: (height, width) integer class ids.

        Returns:
            {"boundary_error": from 0 to 1, nan where undefined}.
        """
        valid = mask != self.ignore_index
        edge = boundary(mask, valid)
        if not edge.any():  # SciPy would return the distance to something outside the mask
            return {"boundary_error": np.nan}
        near = distance_transform_edt(~edge, sampling=self.sampling) <= self.band * (1 + ROUNDING)
        band = near & valid
        return {"boundary_error": float(np.mean(mask[band] != prediction[band]))}


def boundary(mask: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Valid pixels beside a valid pixel of another class; (height, width) bool."""
    found = np.zeros(mask.shape, bool)
    for first, second in (
        ((slice(None, -1), slice(None)), (slice(1, None), slice(None))),
        ((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
    ):
        differ = valid[first] & valid[second] & (mask[first] != mask[second])
        found[first] |= differ
        found[second] |= differ
    return found
