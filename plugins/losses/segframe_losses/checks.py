"""Range checks that the losses' builders share; no TensorFlow here."""

from __future__ import annotations

import math
from typing import Literal

from segframe import SegframeError


def require(key: str, value: float, holds: bool, expected: str) -> None:
    """Refuse a number that is not finite or for which `holds` is False."""
    if not (math.isfinite(value) and holds):
        raise SegframeError(key, expected=expected, got=repr(value), remedy=f"Give {key}=... {expected}.")


def require_classes(num_classes: int, include_background: bool) -> None:
    """Refuse to leave out the only class that there is."""
    if not include_background and num_classes < 2:
        raise SegframeError(
            "loss.include_background",
            expected="true, as there is one class only",
            got="false",
            remedy="Give loss.include_background=true.",
        )


def require_spacing(key: str, spacing: tuple[float, float] | None) -> None:
    """Refuse millimetres where the data do not say how large a pixel is."""
    if spacing is None:
        raise SegframeError(
            key,
            expected="pixels, as the data set has no spacing",
            got="millimetres",
            remedy="Give the file the attribute `spacing` (row, column) in mm, or count in pixels.",
        )


def one_sigma(
    sigma_px: float | None, sigma_mm: float | None, spacing: tuple[float, float] | None
) -> tuple[Literal["px", "mm"], float]:
    """The unit and the number of the sigma that is given; refuse none, both, and what is not above 0."""
    if sigma_px is not None and sigma_mm is None:
        require("loss.sigma_px", sigma_px, sigma_px > 0, "a number above 0")
        return "px", sigma_px
    if sigma_mm is not None and sigma_px is None:
        require("loss.sigma_mm", sigma_mm, sigma_mm > 0, "a number above 0")
        require_spacing("loss.sigma_mm", spacing)
        return "mm", sigma_mm
    raise SegframeError(
        "loss.sigma_mm",
        expected="one sigma, in pixels or in mm",
        got=f"sigma_px={sigma_px} and sigma_mm={sigma_mm}",
        remedy="Give loss.sigma_px=null with a number of mm, or loss.sigma_mm=null with one of pixels.",
    )
