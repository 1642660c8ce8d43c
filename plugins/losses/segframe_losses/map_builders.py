"""Builders of the maps that losses ask for by name; segframe_losses.maps says what they are."""

from __future__ import annotations

from segframe import hookimpl


@hookimpl
def segframe_maps():
    return {
        "squared_distance": build_squared_distance,
        "squared_distance_to_others": build_squared_distance_to_others,
        "nearest_instances": build_nearest_instances,
    }


def build_squared_distance(*, num_classes: int, ignore_index: int, spacing: tuple[float, float] | None):
    """segframe_losses.maps.SquaredDistance."""
    from segframe_losses.maps import SquaredDistance

    return SquaredDistance(num_classes, spacing)


def build_squared_distance_to_others(
    *, num_classes: int, ignore_index: int, spacing: tuple[float, float] | None
):
    """segframe_losses.maps.SquaredDistanceToOthers."""
    from segframe_losses.maps import SquaredDistanceToOthers

    return SquaredDistanceToOthers(num_classes, ignore_index, spacing)


def build_nearest_instances(*, num_classes: int, ignore_index: int, spacing: tuple[float, float] | None):
    """segframe_losses.maps.NearestInstances."""
    from segframe_losses.maps import NearestInstances

    return NearestInstances(num_classes, spacing)
