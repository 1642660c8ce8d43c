"""The basic losses: cross-entropy, soft Dice, and weighted sums of losses."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from segframe.class_weights import ClassPixels, ClassWeights, check_class_weights, make_class_weights
from segframe.errors import SegframeError
from segframe.hooks import hookimpl
from segframe.plugins import ranges
from segframe.terms import weight_at


@hookimpl
def segframe_losses():
    return {"cross_entropy": build_cross_entropy, "dice": build_dice, "sum": build_sum}


@hookimpl
def segframe_callbacks(run):
    return [Epochs(run.loss, run.config["train"]["epochs"])] if hasattr(run.loss, "begin_epoch") else []


class Epochs:
    """Tells a loss which epoch begins, counted from 0; after the last one nothing does."""

    def __init__(self, loss: Any, epochs: int):
        self.loss, self.epochs = loss, epochs
        self._begin(0)

    def _begin(self, epoch: int) -> None:
        self.epoch = epoch
        self.loss.begin_epoch(epoch)

    def on_epoch(self, epoch: int, logs: Mapping[str, Any]) -> None:
        if epoch + 1 < self.epochs:
            self._begin(epoch + 1)

    def state(self) -> dict[str, int]:
        return {"epoch": self.epoch}

    def restore(self, state: Mapping[str, int]) -> None:
        self._begin(state["epoch"])


def build_cross_entropy(
    *,
    num_classes: int,
    ignore_index: int,
    spacing: tuple[float, float] | None,
    class_pixels: ClassPixels | None = None,
    class_weights: ClassWeights = None,
    label_smoothing: float = 0.0,
):
    """segframe.plugins.pixel_losses.CrossEntropy.

    Raises:
        SegframeError: `class_weights` are numbers, but not num_classes of at least 0 with one above it, or
            `label_smoothing` is not from 0 to below 1.
    """
    ranges.below_one("loss.label_smoothing", label_smoothing)
    check_class_weights(class_weights, num_classes)
    from segframe.plugins.pixel_losses import CrossEntropy

    weights = make_class_weights(class_weights, class_pixels)
    return CrossEntropy(num_classes, ignore_index, weights, label_smoothing)


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


def build_sum(
    *,
    num_classes: int,
    ignore_index: int,
    spacing: tuple[float, float] | None,
    terms: Mapping[str, Any],
):
    """segframe.plugins.pixel_losses.Sum.

    Args:
        terms: {label: (weight, loss)}; in the config {label: {name, weight, ...}} or a list, built by the
            catalog.

    Raises:
        SegframeError: there is no term, or all weights are always 0.
    """
    if not any(weight_at(weight, 0) or weight_at(weight, sys.maxsize) for weight, _ in terms.values()):
        raise SegframeError(
            "loss.terms",
            expected="at least one term with a weight above 0",
            got=repr({label: weight for label, (weight, _) in terms.items()}),
            remedy="Give loss.terms.LABEL.weight=1.0, or see conf/loss/cross_entropy_dice.yaml.",
        )
    from segframe.plugins.pixel_losses import Sum

    return Sum(terms)
