"""Surface metrics: HD95, average symmetric surface distance, surface Dice at a tolerance."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt

ROUNDING = 1e-9
"""Relative: three pixels of 0.1 mm are 0.30000000000000004 mm, and within a tolerance of 0.3 mm."""


class SurfaceMetrics:
    """How far the surfaces (in an image: the outlines) of mask and prediction are from each other.

    The surface S of a class in the mask is its pixels that have a neighbour above, below, left or right
    which is of another class or outside of the image; P is that of the prediction. d(a, B) is the Euclidean
    distance of pixel a to the nearest pixel of B, between pixel centres. For each class

        hd95         = max(95th percentile of d(s, P) over s in S, 95th percentile of d(p, S) over p in P)
        assd         = (sum_s d(s, P) + sum_p d(p, S)) / (|S| + |P|)
        surface_dice = (number of s with d(s, P) <= tolerance + number of p with d(p, S) <= tolerance)
                       / (|S| + |P|)

    Percentiles are interpolated linearly. Exact; float64; about linear in the number of pixels.

    Ignored pixels belong to no class, and do not make their neighbours a surface: where the mask says
    nothing, there may or may not be one.

    Of a class that is in neither, nothing is defined (nan). A class that is in one of the two gets the worst
    there is: surface_dice 0, and as its distances the diagonal of the image (height and width of the pixels
    included, so that it is above every distance that was measured). Leaving it out would let a network gain
    by not finding what is hard. A class that is in both but whose surface in one of them is hidden behind
    ignored pixels throughout is not defined.

    Args:
        num_classes: ids run from 0 to num_classes - 1.
        ignore_index: the id of ignored pixels in the mask.
        spacing: (row, column) distance of pixel centres in mm; None: distances are in pixels.
        tolerance: of the surface Dice, both ends included.
        tolerance_unit: "px" or "mm". A tolerance in pixels counts rows and columns as 1 whatever the spacing.

    Source:
        HD95 and ASSD: Maier-Hein, Reinke et al., Metrics reloaded, Nature Methods 21 (2024),
        https://doi.org/10.1038/s41592-023-02151-z. Surface Dice: Nikolov et al. 2018,
        https://arxiv.org/abs/1809.04430, by pixels in place of surface elements. MONAI has this hd95;
        MedPy's is the percentile of both directions together; assd is the same in all three.
    """

    larger_is_better = {"hd95": False, "assd": False, "surface_dice": True}

    def __init__(
        self,
        num_classes: int,
        ignore_index: int,
        spacing: tuple[float, float] | None,
        tolerance: float,
        tolerance_unit: str,
    ):
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.spacing = (1.0, 1.0) if spacing is None else (float(spacing[0]), float(spacing[1]))
        self.tolerance, self.in_pixels = float(tolerance), tolerance_unit == "px"
        unit = "px" if spacing is None else "mm"
        self.contract: dict[str, Any] = {
            "units": {"hd95": unit, "assd": unit, "surface_dice": ""},
            "spacing_mm": None if spacing is None else list(self.spacing),
            "tolerance": f"{tolerance:g} {tolerance_unit}",
            "surface": "pixels of a class with one of 4 neighbours of another class or outside of the image",
            "hd95": "the larger of the two directed 95th percentiles, interpolated linearly",
            "assd": "mean over the surface pixels of both",
            "surface_dice": "share of the surface pixels of both within the tolerance",
            "undefined": "class in neither: left out of means; in one: surface_dice 0, distances the "
            "image's diagonal; surface hidden behind ignored pixels: left out",
            "ignored": "pixels of no class, next to which is no surface",
            "version": 1,
        }

    def __call__(self, mask: np.ndarray, prediction: np.ndarray) -> dict[str, np.ndarray]:
        """Scores of one image.

        Args:
            mask: (height, width) integer class ids, ignore_index where nothing is known.
            prediction: (height, width) integer class ids.

        Returns:
            {"hd95", "assd", "surface_dice"}: (num_classes,) float64, nan where undefined.
        """
        valid = mask != self.ignore_index
        found = np.full((len(self.larger_is_better), self.num_classes), np.nan)
        for c in range(self.num_classes):
            true, predicted = valid & (mask == c), valid & (prediction == c)
            if true.any() and predicted.any():
                found[:, c] = self._scores(surface(true, valid), surface(predicted, valid))
            elif true.any() or predicted.any():
                diagonal = float(np.hypot(*np.multiply(mask.shape, self.spacing)))
                found[:, c] = diagonal, diagonal, 0.0
        return dict(zip(self.larger_is_better, found, strict=True))

    def _scores(self, true: np.ndarray, predicted: np.ndarray) -> tuple[float, float, float]:
        if not (true.any() and predicted.any()):
            return np.nan, np.nan, np.nan
        from_true, from_predicted = surface_distances(true, predicted, self.spacing)
        both = np.concatenate([from_true, from_predicted])
        hd95 = max(np.percentile(from_true, 95), np.percentile(from_predicted, 95))
        for_dice = both
        if self.in_pixels and self.spacing != (1.0, 1.0):
            for_dice = np.concatenate(surface_distances(true, predicted, (1.0, 1.0)))
        near = for_dice <= self.tolerance * (1 + ROUNDING)
        return float(hd95), float(both.mean()), float(near.mean())


def surface(member: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Pixels of `member` at the image's border or beside a valid pixel that is none; (height, width) bool."""
    other = np.pad(valid & ~member, 1, constant_values=True)
    return member & (other[:-2, 1:-1] | other[2:, 1:-1] | other[1:-1, :-2] | other[1:-1, 2:])


def surface_distances(
    first: np.ndarray, second: np.ndarray, spacing: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Distances of the pixels of each of two surfaces to the nearest pixel of the other.

    Args:
        first, second: (height, width) bool, at least one pixel each.
        spacing: (row, column) distance of pixel centres.

    Returns:
        From the first to the second, from the second to the first: 1-D float64, in the unit of `spacing`.
    """
    # The nearest pixel lies within the box around both surfaces, however large the image.
    either = first | second
    box = tuple(_extent(either.any(axis=1 - axis)) for axis in (0, 1))
    first, second = first[box], second[box]
    return (
        distance_transform_edt(~second, sampling=spacing)[first],
        distance_transform_edt(~first, sampling=spacing)[second],
    )


def _extent(there: np.ndarray) -> slice:
    positions = np.flatnonzero(there)
    return slice(positions[0], positions[-1] + 1)
