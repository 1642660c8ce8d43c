"""Makers of the maps that losses ask for: what is made of a mask once, and kept (segframe.map_store)."""

from __future__ import annotations

import numpy as np

from segframe_losses.distance import FAR, to_nearest
from segframe_losses.instances import instances, two_nearest

VERSION = 1
"""Raised when a value changes: maps that were kept before are then not used."""


class _Maker:
    """What all makers share: dtype, unit and padding, by the spacing.

    Where a pixel is a square (its spacing unknown or the same both ways) a map is uint16 in px², and the
    loss multiplies by spacing²; 65535: 256 px or more away, or nothing to be near to. Otherwise float32 in
    mm², +inf where there is nothing to be near to. Padding is as far as can be.
    """

    def __init__(self, name: str, num_classes: int, channels: int, spacing: tuple[float, float] | None):
        square = spacing is None or spacing[0] == spacing[1]
        self.num_classes, self.channels = num_classes, channels
        self.spacing = None if square else spacing
        self.dtype, self.padding = ("uint16", FAR) if square else ("float32", np.inf)
        unit = "px" if square else "{:g} mm x {:g} mm".format(*spacing or ())
        self.version = f"{name} {VERSION}: {num_classes} classes, {unit}"


class SquaredDistance(_Maker):
    """Squared distance to the nearest pixel of each class: (height, width, num_classes), 0 on the class.

    IGNORED pixels are of no class, but have distances like all others.
    """

    def __init__(self, num_classes: int, spacing: tuple[float, float] | None):
        super().__init__("squared distance", num_classes, num_classes, spacing)

    def make(self, mask: np.ndarray) -> np.ndarray:
        """(height, width) uint8 class ids -> (height, width, num_classes), as the class says."""
        return np.stack([to_nearest(mask == c, self.spacing) for c in range(self.num_classes)], axis=-1)


class SquaredDistanceToOthers(_Maker):
    """Squared distance to the nearest pixel that is known and not of the class: 0 on those.

    (height, width, num_classes). IGNORED pixels are not known, but have distances like all others.
    """

    def __init__(self, num_classes: int, ignore_index: int, spacing: tuple[float, float] | None):
        super().__init__("squared distance to others", num_classes, num_classes, spacing)
        self.ignore_index = ignore_index

    def make(self, mask: np.ndarray) -> np.ndarray:
        """(height, width) uint8 class ids -> (height, width, num_classes), as the class says."""
        known = mask != self.ignore_index
        classes = range(self.num_classes)
        return np.stack([to_nearest(known & (mask != c), self.spacing) for c in classes], axis=-1)


class NearestInstances(_Maker):
    """Squared distances to the nearest and to the second nearest instance: (height, width, 2).

    An instance is an 8-connected component of a class other than 0, which is taken for the background
    whatever its name. On an instance the first distance is 0.
    """

    def __init__(self, num_classes: int, spacing: tuple[float, float] | None):
        super().__init__("nearest instances", num_classes, 2, spacing)

    def make(self, mask: np.ndarray) -> np.ndarray:
        """(height, width) uint8 class ids -> (height, width, 2), as the class says."""
        return two_nearest(instances(mask, self.num_classes), self.spacing)
