"""The basic losses: cross-entropy, soft Dice, and weighted sums of losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segframe.errors import SegframeError
from segframe.hooks import hookimpl
from segframe.plugins import ranges


@hookimpl
def segframe_losses():
    return {"cross_entropy": build_cross_entropy, "dice": build_dice, "combined": build_combined}


def build_cross_entropy(
    *,
    num_classes: int,
    ignore_index: int,
    spacing: tuple[float, float] | None,
    class_weights: list[float] | None = None,
    label_smoothing: float = 0.0,
):
    """segframe.plugins.pixel_losses.CrossEntropy.

    Raises:
        SegframeError: `class_weights` are not num_classes numbers of at least 0 with one above it, or
            `label_smoothing` is not from 0 to below 1.
    """
    ranges.below_one("loss.label_smoothing", label_smoothing)
    if class_weights is not None:
        if len(class_weights) != num_classes or not any(class_weights):
            raise SegframeError(
                "loss.class_weights",
                expected=f"{num_classes} numbers, one a class in the order of the ids, at least one above 0",
                got=repr(class_weights),
                remedy=f"Give loss.class_weights={[1.0] * num_classes} or null.",
            )
        for class_id, weight in enumerate(class_weights):
            ranges.at_least_zero(f"loss.class_weights.{class_id}", weight)
    from segframe.plugins.pixel_losses import CrossEntropy

    return CrossEntropy(num_classes, ignore_index, class_weights, label_smoothing)


def build_dice(
    *,
    num_classes: int,
    ignore_index: int,
    spacing: tuple[float, float] | None,
    include_background: bool = True,
    smooth: float = 1.0,
):
    """segframe.plugins.pixel_losses.Dice.

    Raises:
        SegframeError: `smooth` is not above 0, or no class is left without the background.
    """
    ranges.above_zero("loss.smooth", smooth)
    if not include_background and num_classes < 2:
        raise SegframeError(
            "loss.include_background",
            expected="true, as there is one class only",
            got="false",
            remedy="Give loss.include_background=true.",
        )
    from segframe.plugins.pixel_losses import Dice

    return Dice(num_classes, ignore_index, include_background, smooth)


def build_combined(
    *,
    num_classes: int,
    ignore_index: int,
    spacing: tuple[float, float] | None,
    terms: Mapping[str, Any],
):
    """segframe.plugins.pixel_losses.Combined.

    Args:
        terms: {label: (weight, loss)}; in the config {label: {name, weight, ...}}, built by the catalog.

    Raises:
        SegframeError: there is no term, a weight is below 0, or all are 0.
    """
    for label, (weight, _) in terms.items():
        ranges.at_least_zero(f"loss.terms.{label}.weight", weight)
    if not any(weight for weight, _ in terms.values()):
        raise SegframeError(
            "loss.terms",
            expected="at least one term with a weight above 0",
            got=repr({label: weight for label, (weight, _) in terms.items()}),
            remedy="Give loss.terms.LABEL.weight=1.0, or see conf/loss/cross_entropy_dice.yaml.",
        )
    from segframe.plugins.pixel_losses import Combined

    return Combined(terms)
