"""How raw pixels become what the network sees, from the training samples alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from segframe.dataset import Dataset, at_once
from segframe.split import Part

PIXELS = 2**22  # that are float64 at a time


class Normalisation(NamedTuple):
    """normalised = (raw * scale - mean) / std, per channel."""

    scale: float
    """1/255 for uint8 images, 1 for float32 ones: brings raw pixels to where augmentations expect them."""
    mean: tuple[float, ...]
    """(channels,) of raw * scale over all pixels of the training part."""
    std: tuple[float, ...]
    """(channels,) likewise; 1 for a channel that is constant."""

    low: float = 0.0
    """Smallest raw * scale of the training part."""
    high: float = 1.0
    """Largest."""

    def as_json(self) -> dict[str, Any]:
        return {
            "scale": self.scale,
            "mean": list(self.mean),
            "std": list(self.std),
            "range": [self.low, self.high],
        }


def measure(dataset: Dataset, part: Part) -> Normalisation:
    """Mean and standard deviation of a part, in float64."""
    block = at_once(dataset)
    channels = dataset.image_shape[2]
    total, square, pixels, scale = np.zeros(channels), np.zeros(channels), 0, 1.0
    low, high = np.inf, -np.inf
    for start in range(0, len(part.indices), block):
        for sample in dataset.read(part.split, part.indices[start : start + block]):
            scale = 1 / 255 if sample.image.dtype == np.uint8 else 1.0
            raw = sample.image.reshape(-1, channels)
            for first in range(0, len(raw), PIXELS):
                flat = raw[first : first + PIXELS].astype(np.float64) * scale
                total += flat.sum(0)
                square += np.square(flat).sum(0)
                low, high = min(low, float(flat.min())), max(high, float(flat.max()))
            pixels += len(raw)
    mean = total / pixels
    std = np.sqrt(np.maximum(square / pixels - np.square(mean), 0))
    std[std < 1e-6] = (
        1.0  # a constant channel carries nothing; dividing by its rounding error would blow it up
    )
    return Normalisation(scale, _floats(mean), _floats(std), low, high)


def _floats(values: Sequence[float] | np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
