"""The augmentations: flips, turns, intensity, noise, blur, cut-outs; affine and elastic, which warp."""

from __future__ import annotations

from typing import Literal

from segframe.errors import SegframeError
from segframe.hooks import hookimpl
from segframe.plugins import ranges


@hookimpl
def segframe_augmentations():
    return {
        "flip": build_flip,
        "quarter_turn": build_quarter_turn,
        "intensity": build_intensity,
        "noise": build_noise,
        "blur": build_blur,
        "cutout": build_cutout,
        "affine": build_affine,
        "elastic": build_elastic,
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


def build_noise(*, std: float = 0.05, probability: float = 1.0):
    """segframe.plugins.degradations.Noise.

    Raises:
        SegframeError: `std` or `probability` is not from 0 to 1.
    """
    ranges.from_zero_to_one("augment.std", std)
    ranges.from_zero_to_one("augment.probability", probability)
    from segframe.plugins.degradations import Noise

    return Noise(std, probability)


def build_blur(*, sigma_min_px: float = 0.5, sigma_max_px: float = 1.0, probability: float = 1.0):
    """segframe.plugins.degradations.Blur.

    Raises:
        SegframeError: not 0 < `sigma_min_px` <= `sigma_max_px` <= 64, or `probability` not from 0 to 1.
    """
    if not 0 < sigma_min_px <= sigma_max_px <= 64:
        raise SegframeError(
            "augment.sigma_min_px",
            expected="a number above 0, at most augment.sigma_max_px, which is at most 64",
            got=f"{sigma_min_px} and {sigma_max_px}",
            remedy="Give 0.5 and 1.0, say.",
        )
    ranges.from_zero_to_one("augment.probability", probability)
    from segframe.plugins.degradations import Blur

    return Blur(sigma_min_px, sigma_max_px, probability)


def build_cutout(
    *,
    holes: int = 1,
    size_share: float = 0.25,
    mask: Literal["ignore", "keep"] = "ignore",
    probability: float = 1.0,
):
    """segframe.plugins.degradations.CutOut.

    Raises:
        SegframeError: `holes` is below 1, or `size_share` or `probability` not from 0 to 1.
    """
    ranges.at_least("augment.holes", holes, 1)
    ranges.from_zero_to_one("augment.size_share", size_share)
    ranges.from_zero_to_one("augment.probability", probability)
    from segframe.plugins.degradations import CutOut

    return CutOut(holes, size_share, mask, probability)


def build_affine(
    *,
    zoom: float = 0.25,
    rotation_degrees: float = 0.0,
    shear_degrees: float = 0.0,
    shift_share: float = 0.0,
    probability: float = 1.0,
):
    """segframe.plugins.warps.Affine.

    Raises:
        SegframeError: `zoom` is below 0, `rotation_degrees` not from 0 to 180, `shear_degrees` not from 0 to
            60, or `shift_share` or `probability` not from 0 to 1.
    """
    ranges.at_least_zero("augment.zoom", zoom)
    ranges.from_zero_to_one("augment.shift_share", shift_share)
    ranges.from_zero_to_one("augment.probability", probability)
    for key, degrees, largest in (("rotation", rotation_degrees, 180), ("shear", shear_degrees, 60)):
        if not 0 <= degrees <= largest:
            raise SegframeError(
                f"augment.{key}_degrees",
                expected=f"a number from 0 to {largest}",
                got=repr(degrees),
                remedy=f"Give augment.{key}_degrees=15, say.",
            )
    from segframe.plugins.warps import Affine

    return Affine(zoom, rotation_degrees, shear_degrees, shift_share, probability)


def build_elastic(*, points: int = 3, std_share: float = 0.02, probability: float = 1.0):
    """segframe.plugins.warps.Elastic.

    Raises:
        SegframeError: `points` is below 2, or `std_share` or `probability` not from 0 to 1.
    """
    ranges.at_least("augment.points", points, 2)
    ranges.from_zero_to_one("augment.std_share", std_share)
    ranges.from_zero_to_one("augment.probability", probability)
    from segframe.plugins.warps import Elastic

    return Elastic(points, std_share, probability)
