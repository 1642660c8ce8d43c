"""Builders of the losses that compare regions: Jaccard, (focal) Tversky, generalised Dice, Lovász."""

from __future__ import annotations

from segframe_losses.checks import require, require_classes


def build_jaccard(
    *,
    num_classes: int,
    ignore_index: int,
    spacing: tuple[float, float] | None,
    include_background: bool = True,
    smooth: float = 1.0,
):
    """segframe_losses.overlap.Tversky with alpha and beta 1: intersection over union.

    Raises:
        SegframeError: `smooth` is not above 0, or no class is left without the background.
    """
    _check_overlap(num_classes, include_background, smooth)
    from segframe_losses.overlap import Tversky

    return Tversky(num_classes, ignore_index, 1.0, 1.0, include_background, smooth)


def build_tversky(
    *,
    num_classes: int,
    ignore_index: int,
    spacing: tuple[float, float] | None,
    alpha: float = 0.3,
    beta: float = 0.7,
    include_background: bool = True,
    smooth: float = 1.0,
):
    """segframe_losses.overlap.Tversky.

    Raises:
        SegframeError: `alpha` or `beta` is below 0 or both are 0, `smooth` is not above 0, or no class is
            left without the background.
    """
    _check_tversky(alpha, beta)
    _check_overlap(num_classes, include_background, smooth)
    from segframe_losses.overlap import Tversky

    return Tversky(num_classes, ignore_index, alpha, beta, include_background, smooth)


def build_focal_tversky(
    *,
    num_classes: int,
    ignore_index: int,
    spacing: tuple[float, float] | None,
    alpha: float = 0.3,
    beta: float = 0.7,
    gamma: float = 4 / 3,
    include_background: bool = True,
    smooth: float = 1.0,
):
    """segframe_losses.overlap.FocalTversky.

    Raises:
        SegframeError: `alpha` or `beta` is below 0 or both are 0, `gamma` is below 1, `smooth` is not above
            0, or no class is left without the background.
    """
    _check_tversky(alpha, beta)
    require("loss.gamma", gamma, gamma >= 1, "a number of at least 1")
    _check_overlap(num_classes, include_background, smooth)
    from segframe_losses.overlap import FocalTversky

    return FocalTversky(num_classes, ignore_index, alpha, beta, include_background, smooth, gamma)


def build_generalised_dice(*, num_classes: int, ignore_index: int, spacing: tuple[float, float] | None):
    """segframe_losses.generalised_dice.GeneralisedDice."""
    from segframe_losses.generalised_dice import GeneralisedDice

    return GeneralisedDice(num_classes, ignore_index)


def build_lovasz_softmax(*, num_classes: int, ignore_index: int, spacing: tuple[float, float] | None):
    """segframe_losses.lovasz.LovaszSoftmax."""
    from segframe_losses.lovasz import LovaszSoftmax

    return LovaszSoftmax(num_classes, ignore_index)


def _check_tversky(alpha: float, beta: float) -> None:
    require("loss.alpha", alpha, alpha >= 0, "a number of at least 0")
    require("loss.beta", beta, beta >= 0, "a number of at least 0")
    require("loss.alpha", alpha, alpha + beta > 0, "a number above 0 where loss.beta is 0")


def _check_overlap(num_classes: int, include_background: bool, smooth: float) -> None:
    require("loss.smooth", smooth, smooth > 0, "a number above 0")
    require_classes(num_classes, include_background)
