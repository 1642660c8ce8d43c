"""The metrics `surface` and `boundary_band`: their settings, checked before NumPy and SciPy are imported."""

from __future__ import annotations

import math
from typing import Literal

from segframe import SegframeError, hookimpl


@hookimpl
def segframe_metrics():
    return {"surface": build_surface, "boundary_band": build_boundary_band}


def build_surface(
    *,
    num_classes: int,
    ignore_index: int,
    spacing: tuple[float, float] | None,
    tolerance_px: float | None = 2.0,
    tolerance_mm: float | None = None,
):
    """segframe_losses.surface_metrics.SurfaceMetrics.

    Raises:
        SegframeError: not exactly one tolerance is given, it is below 0 or not finite, or it is in mm and the
            data have no spacing.
    """
    unit, tolerance = _one_distance("tolerance", tolerance_px, tolerance_mm, spacing, "2.0")
    from segframe_losses.surface_metrics import SurfaceMetrics

    return SurfaceMetrics(num_classes, ignore_index, spacing, tolerance, unit)


def build_boundary_band(
    *,
    num_classes: int,
    ignore_index: int,
    spacing: tuple[float, float] | None,
    band_px: float | None = 3.0,
    band_mm: float | None = None,
):
    """segframe_losses.boundary_band.BoundaryBand.

    Raises:
        SegframeError: not exactly one band is given, it is below 0 or not finite, or it is in mm and the data
            have no spacing.
    """
    unit, band = _one_distance("band", band_px, band_mm, spacing, "3.0")
    from segframe_losses.boundary_band import BoundaryBand

    return BoundaryBand(ignore_index, spacing, band, unit)


def _one_distance(
    what: str, px: float | None, mm: float | None, spacing: tuple[float, float] | None, example: str
) -> tuple[Literal["px", "mm"], float]:
    """The unit and the number of the one that is given; refuse none, both, and what is not at least 0."""
    if (px is None) == (mm is None):
        raise SegframeError(
            f"metrics.{what}_mm",
            expected=f"one {what}, in pixels or in mm",
            got=f"{what}_px={_given(px)} and {what}_mm={_given(mm)}",
            remedy=f"Give metrics.{what}_px=null with a number of mm, or metrics.{what}_mm=null.",
        )
    unit: Literal["px", "mm"] = "px" if mm is None else "mm"
    distance = px if mm is None else mm
    if distance is None or not 0 <= distance < math.inf:
        raise SegframeError(
            f"metrics.{what}_{unit}",
            expected="a number of at least 0",
            got=repr(distance),
            remedy=f"Give metrics.{what}_{unit}={example}.",
        )
    if unit == "mm" and spacing is None:
        raise SegframeError(
            f"metrics.{what}_mm",
            expected="data with a spacing",
            got="none",
            remedy=f"Give metrics.{what}_px={example} metrics.{what}_mm=null, or the file the attribute "
            "`spacing` (row, column) in mm.",
        )
    return unit, distance


def _given(value: float | None) -> str:
    return "null" if value is None else f"{value:g}"
