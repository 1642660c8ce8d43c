"""Losses beyond the basic ones: soft Jaccard, Tversky and focal."""

from __future__ import annotations

import math

from segframe import SegframeError, hookimpl


@hookimpl
def segframe_losses():
    return {"jaccard": build_jaccard, "tversky": build_tversky, "focal": build_focal}


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
    _require("loss.alpha", alpha, alpha >= 0, "a number of at least 0")
    _require("loss.beta", beta, beta >= 0, "a number of at least 0")
    _require("loss.alpha", alpha, alpha + beta > 0, "a number above 0 where loss.beta is 0")
    _check_overlap(num_classes, include_background, smooth)
    from segframe_losses.overlap import Tversky

    return Tversky(num_classes, ignore_index, alpha, beta, include_background, smooth)


def build_focal(
    *,
    num_classes: int,
    ignore_index: int,
    spacing: tuple[float, float] | None,
    gamma: float = 2.0,
    class_weights: list[float] | None = None,
):
    """segframe_losses.focal.Focal.

    Raises:
        SegframeError: `gamma` is below 0, or `class_weights` are not num_classes numbers of at least 0 with
            one above it.
    """
    _require("loss.gamma", gamma, gamma >= 0, "a number of at least 0")
    if class_weights is not None:
        if len(class_weights) != num_classes or not any(class_weights):
            raise SegframeError(
                "loss.class_weights",
                expected=f"{num_classes} numbers, one a class in the order of the ids, at least one above 0",
                got=repr(class_weights),
                remedy=f"Give loss.class_weights={[1.0] * num_classes} or null.",
            )
        for class_id, weight in enumerate(class_weights):
            _require(f"loss.class_weights.{class_id}", weight, weight >= 0, "a number of at least 0")
    from segframe_losses.focal import Focal

    return Focal(num_classes, ignore_index, gamma, class_weights)


def _check_overlap(num_classes: int, include_background: bool, smooth: float) -> None:
    _require("loss.smooth", smooth, smooth > 0, "a number above 0")
    if not include_background and num_classes < 2:
        raise SegframeError("loss.include_background", expected="true, as there is one class only",
                            got="false", remedy="Give loss.include_background=true.")  # fmt: skip


def _require(key: str, value: float, holds: bool, expected: str) -> None:
    if not (math.isfinite(value) and holds):
        raise SegframeError(key, expected=expected, got=repr(value), remedy=f"Give {key}=... {expected}.")
