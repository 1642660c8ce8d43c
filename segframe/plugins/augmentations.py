"""The augmentations: flips, quarter turns, changes of intensity; elastic bending and scale, which warp."""

from __future__ import annotations

from segframe.errors import SegframeError
from segframe.hooks import hookimpl
from segframe.plugins import ranges


@hookimpl
def segframe_augmentations():
    return {
        "flip": build_flip,
        "quarter_turn": build_quarter_turn,
        "intensity": build_intensity,
        "elastic": build_elastic,
        "scale": build_scale,
    }


def build_flip(*, horizontal: bool = True, vertical: bool = True):
    """segframe.plugins.image_transforms.Flip.

    Raises:
        SegframeError: both are false.
    """
    if not (horizontal or vertical):
        raise SegframeError(
            "augment.horizontal",
            expected="horizontal or vertical true",
            got="both false",
            remedy="Set one of them true, or choose augment=none.",
        )
    from segframe.plugins.image_transforms import Flip

    return Flip(horizontal, vertical)


def build_quarter_turn():
    """segframe.plugins.image_transforms.QuarterTurn."""
    from segframe.plugins.image_transforms import QuarterTurn

    return QuarterTurn()


def build_intensity(*, brightness: float = 0.1, contrast: float = 0.1, gamma: float = 0.0):
    """segframe.plugins.image_transforms.Intensity.

    Raises:
        SegframeError: `brightness` is not from 0 to 1, `contrast` not from 0 to below 1, or `gamma` below 0.
    """
    ranges.from_zero_to_one("augment.brightness", brightness)
    ranges.below_one("augment.contrast", contrast)
    ranges.at_least_zero("augment.gamma", gamma)
    from segframe.plugins.image_transforms import Intensity

    return Intensity(brightness, contrast, gamma)


def build_scale(
    *,
    zoom: float = 0.25,
    rotation_degrees: float = 0.0,
    shift_share: float = 0.0,
    probability: float = 1.0,
):
    """segframe.plugins.warps.Scale.

    Raises:
        SegframeError: `zoom` is below 0, `rotation_degrees` not from 0 to 180, or `shift_share` or
            `probability` not from 0 to 1.
    """
    ranges.at_least_zero("augment.zoom", zoom)
    ranges.from_zero_to_one("augment.shift_share", shift_share)
    ranges.from_zero_to_one("augment.probability", probability)
    if not 0 <= rotation_degrees <= 180:
        raise SegframeError(
            "augment.rotation_degrees",
            expected="a number from 0 to 180",
            got=repr(rotation_degrees),
            remedy="Give augment.rotation_degrees=15, say.",
        )
    from segframe.plugins.warps import Scale

    return Scale(zoom, rotation_degrees, shift_share, probability)


def build_elastic(*, points: int = 3, std_share: float = 0.02, probability: float = 1.0):
    """segframe.plugins.warps.Elastic.

    Raises:
        SegframeError: `points` is below 2, or `std_share` or `probability` not from 0 to 1.
    """
    if points < 2:
        raise SegframeError(
            "augment.points", expected="a number of at least 2", got=repr(points), remedy="Give 3, say."
        )
    ranges.from_zero_to_one("augment.std_share", std_share)
    ranges.from_zero_to_one("augment.probability", probability)
    from segframe.plugins.warps import Elastic

    return Elastic(points, std_share, probability)
