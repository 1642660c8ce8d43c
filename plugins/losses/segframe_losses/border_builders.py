"""Builders of the losses that look at distances: border weights, boundary loss, Hausdorff loss."""

from __future__ import annotations

from typing import Literal

from segframe import ClassPixels, ClassWeights, check_class_weights, make_class_weights
from segframe_losses.checks import one_sigma, require, require_classes, require_spacing


def build_border_weighted_cross_entropy(
    *,
    num_classes: int,
    ignore_index: int,
    spacing: tuple[float, float] | None,
    class_pixels: ClassPixels | None = None,
    w0: float = 10.0,
    sigma_px: float | None = 5.0,
    sigma_mm: float | None = None,
    class_weights: ClassWeights = None,
):
    """segframe_losses.border_weights.BorderWeightedCrossEntropy.

    Raises:
        SegframeError: `w0` is below 0, not exactly one sigma is given, it is not above 0, it is in mm and the
            data have no spacing, or `class_weights` are numbers, but not num_classes of at least 0 with one
            above it.
    """
    require("loss.w0", w0, w0 >= 0, "a number of at least 0")
    unit, sigma = one_sigma(sigma_px, sigma_mm, spacing)
    check_class_weights(class_weights, num_classes)
    from segframe_losses.border_weights import BorderWeightedCrossEntropy
    from segframe_losses.map_units import MapUnits

    return BorderWeightedCrossEntropy(
        num_classes,
        ignore_index,
        MapUnits(spacing, unit),
        w0,
        sigma,
        make_class_weights(class_weights, class_pixels),
    )


def build_boundary(
    *,
    num_classes: int,
    ignore_index: int,
    spacing: tuple[float, float] | None,
    include_background: bool = False,
    unit: Literal["px", "mm"] = "px",
):
    """segframe_losses.boundary.Boundary.

    Raises:
        SegframeError: no class is left without the background, or the unit is mm and the data have no
            spacing.
    """
    _check_boundary(num_classes, include_background, unit, spacing)
    from segframe_losses.boundary import Boundary
    from segframe_losses.map_units import MapUnits

    return Boundary(num_classes, ignore_index, MapUnits(spacing, unit), include_background)


def build_hausdorff_dt(
    *,
    num_classes: int,
    ignore_index: int,
    spacing: tuple[float, float] | None,
    alpha: float = 2.0,
    include_background: bool = False,
    unit: Literal["px", "mm"] = "px",
):
    """segframe_losses.boundary.HausdorffDT.

    Raises:
        SegframeError: `alpha` is not above 0, no class is left without the background, or the unit is mm and
            the data have no spacing.
    """
    require("loss.alpha", alpha, alpha > 0, "a number above 0")
    _check_boundary(num_classes, include_background, unit, spacing)
    from segframe_losses.boundary import HausdorffDT
    from segframe_losses.map_units import MapUnits

    return HausdorffDT(num_classes, ignore_index, MapUnits(spacing, unit), include_background, alpha)


def _check_boundary(
    num_classes: int, include_background: bool, unit: str, spacing: tuple[float, float] | None
) -> None:
    require_classes(num_classes, include_background)
    if unit == "mm":
        require_spacing("loss.unit", spacing)
