"""Colours of classes, images with classes laid over them, and probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def palette(class_names: Sequence[str]) -> list[tuple[int, int, int]]:
    """A colour of its own for each class, as in the figures; black for the background."""
    from segframe.figures import class_colour

    found: list[tuple[int, int, int]] = []
    for class_id in range(len(class_names)):
        colour = class_colour(class_id, class_names) or (0.0, 0.0, 0.0)
        red, green, blue = (round(255 * value) for value in colour[:3])
        while (red, green, blue) in found:  # after many classes the palette is too dark to differ
            blue = (blue + 1) % 256
        found.append((red, green, blue))
    return found


def probabilities_of(logits: np.ndarray) -> np.ndarray:
    """(..., num_classes) probabilities, finite for all finite logits."""
    import numpy as np

    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def laid_over(shown: np.ndarray, ids: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """(height, width, 3) float32 in [0, 1], and class ids -> (height, width, 3) uint8."""
    import numpy as np

    from segframe.figures import class_colour

    colours = [class_colour(class_id, class_names) or (0.0,) * 4 for class_id in range(len(class_names))]
    layer = np.array(colours, np.float32)[ids]
    mixed = shown * (1 - layer[..., 3:]) + layer[..., :3] * layer[..., 3:]
    return np.rint(mixed * 255).astype(np.uint8)
