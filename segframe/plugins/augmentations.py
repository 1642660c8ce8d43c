"""The basic augmentations: flips, quarter turns, and changes of intensity."""

from __future__ import annotations

from segframe.errors import SegframeError
from segframe.hooks import hookimpl
from segframe.plugins import ranges


@hookimpl
def segframe_augmentations():
    return {"flip": build_flip, "quarter_turn": build_quarter_turn, "intensity": build_intensity}


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
