"""The builder of the distance-aware cross-entropy; TensorFlow is imported when it is called."""

from __future__ import annotations

import logging
from typing import Literal

from segframe import SegframeError
from segframe_losses.checks import one_sigma, require, require_classes

log = logging.getLogger("segframe.losses")
STORED_PX = 256.0
"""Where stored distances end; beyond 4 sigma y counts as 0."""


def build_distance_aware(
    *,
    num_classes: int,
    ignore_index: int,
    spacing: tuple[float, float] | None,
    sigma_px: float | None = 5.0,
    sigma_mm: float | None = None,
    alpha: float = 2.0,
    beta: float = 4.0,
    map_source: Literal["stored", "in_graph", "auto"] = "auto",
    activation: Literal["softmax", "sigmoid"] = "softmax",
    include_background: bool = False,
    normalize: Literal["pixels", "foreground"] = "pixels",
    warped: bool = False,
):
    """segframe_losses.distance_aware.DistanceAware.

    Args:
        sigma_px: in pixels; with pixels that are not square, of one of the same area. null with sigma_mm.
        sigma_mm: in mm, which needs the data's spacing; null with sigma_px.
        map_source: "auto" takes stored distances unless an augmentation warps, which they cannot follow.
        warped: what the core says of the run's augmentations.

    Raises:
        SegframeError: a number is out of its range; both or none of the sigmas; sigma_mm without spacing;
            stored distances that end before 4 sigma.
    """
    unit, sigma = one_sigma(sigma_px, sigma_mm, spacing)
    require("loss.alpha", alpha, alpha >= 0, "a number of at least 0")
    require("loss.beta", beta, beta >= 0, "a number of at least 0")
    require_classes(num_classes, include_background)
    rows, columns = spacing or (1.0, 1.0)
    pixel = (rows * columns) ** 0.5  # in mm
    if unit == "px":
        rows, columns = rows / pixel, columns / pixel
    in_px = sigma / (1.0 if unit == "px" else pixel)
    far = rows == columns and 4 * in_px > STORED_PX  # maps of other pixels are floats, without an end
    if map_source == "stored" and beta > 0 and far:
        raise SegframeError(
            f"loss.sigma_{unit}",
            expected=f"at most {STORED_PX / 4:g} px, as stored distances end at {STORED_PX:g} px",
            got=f"{in_px:g} px",
            remedy="Give loss.map_source=in_graph, or a smaller sigma.",
        )
    in_graph = map_source == "in_graph" or (map_source == "auto" and (warped or far))
    if map_source == "auto" and beta > 0 and in_graph:
        why = "an augmentation warps" if warped else "stored distances end before 4 sigma"
        log.info("loss.map_source=auto: in_graph (%s).", why)
    from segframe_losses.distance_aware import DistanceAware
    from segframe_losses.map_units import MapUnits

    return DistanceAware(
        num_classes, ignore_index, MapUnits(spacing, unit), (rows, columns), sigma, alpha, beta, in_graph,
        activation, include_background, normalize,
    )  # fmt: skip
