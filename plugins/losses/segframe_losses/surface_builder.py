"""`metrics.LABEL.name=surface`: its settings, checked before NumPy and SciPy are imported."""

from __future__ import annotations

import math

from segframe import SegframeError, hookimpl


@hookimpl
def segframe_metrics():
    return {"surface": build_surface}


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
    if (tolerance_px is None) == (tolerance_mm is None):
        raise SegframeError(
            "metrics.tolerance_mm",
            expected="one tolerance, in pixels or in mm",
            got=f"tolerance_px={_given(tolerance_px)} and tolerance_mm={_given(tolerance_mm)}",
            remedy="Give metrics.tolerance_px=null with a number of mm, or metrics.tolerance_mm=null.",
        )
    unit, tolerance = ("px", tolerance_px) if tolerance_px is not None else ("mm", tolerance_mm)
    if tolerance is None or not 0 <= tolerance < math.inf:
        raise SegframeError(
            f"metrics.tolerance_{unit}",
            expected="a number of at least 0",
            got=repr(tolerance),
            remedy=f"Give metrics.tolerance_{unit}=2.0.",
        )
    if unit == "mm" and spacing is None:
        raise SegframeError(
            "metrics.tolerance_mm",
            expected="data with a spacing",
            got="none",
            remedy="Give metrics.tolerance_px=2.0 metrics.tolerance_mm=null, or the file the attribute "
            "`spacing` (row, column) in mm.",
        )
    from segframe_losses.surface_metrics import SurfaceMetrics

    return SurfaceMetrics(num_classes, ignore_index, spacing, tolerance, unit)


def _given(value: float | None) -> str:
    return "null" if value is None else f"{value:g}"
