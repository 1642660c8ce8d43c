"""Builder of the focal loss."""

from __future__ import annotations

from segframe import ClassPixels, ClassWeights, check_class_weights, make_class_weights
from segframe_losses.checks import require


def build_focal(
    *,
    num_classes: int,
    ignore_index: int,
    spacing: tuple[float, float] | None,
    class_pixels: ClassPixels | None = None,
    gamma: float = 2.0,
    class_weights: ClassWeights = None,
):
    """segframe_losses.focal.Focal.

    Raises:
        SegframeError: `gamma` is below 0, or `class_weights` are numbers, but not num_classes of at least 0
            with one above it.
    """
    require("loss.gamma", gamma, gamma >= 0, "a number of at least 0")
    check_class_weights(class_weights, num_classes)
    from segframe_losses.focal import Focal

    return Focal(num_classes, ignore_index, gamma, make_class_weights(class_weights, class_pixels))
