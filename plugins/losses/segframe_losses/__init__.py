"""Losses beyond the basic ones; each is in a file of its own."""

from __future__ import annotations

from segframe import hookimpl
from segframe_losses.border_builders import (
    build_border_weighted_cross_entropy,
    build_boundary,
    build_hausdorff_dt,
)
from segframe_losses.distance_aware_builder import build_distance_aware
from segframe_losses.focal_builder import build_focal
from segframe_losses.map_builders import segframe_maps as segframe_maps  # a hook of this plugin
from segframe_losses.overlap_builders import (
    build_focal_tversky,
    build_generalised_dice,
    build_jaccard,
    build_lovasz_softmax,
    build_tversky,
)
from segframe_losses.surface_builder import segframe_metrics as segframe_metrics  # a hook of this plugin


@hookimpl
def segframe_losses():
    return {
        "border_weighted_cross_entropy": build_border_weighted_cross_entropy,
        "boundary": build_boundary,
        "distance_aware": build_distance_aware,
        "focal": build_focal,
        "focal_tversky": build_focal_tversky,
        "generalised_dice": build_generalised_dice,
        "hausdorff_dt": build_hausdorff_dt,
        "jaccard": build_jaccard,
        "lovasz_softmax": build_lovasz_softmax,
        "tversky": build_tversky,
    }
