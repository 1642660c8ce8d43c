"""Stored squared distances as a loss computes with them: one unit, one number for "far"."""

from __future__ import annotations

import math
from typing import Literal

import tensorflow as tf

FAR, FAR_PX = 65535.0, 256.0
"""What a uint16 map has from 256 px on (segframe_losses.distance)."""


class MapUnits:
    """Squared distances in px² or mm², from a map in either.

    Where a pixel is a square a map is uint16 in px², 65535 from 256 px on or where nothing is near;
    otherwise it is float32 in mm², +inf where nothing is near. A pixel that is no square counts as one of
    the same area: 1 px = sqrt(row * column) mm.

    Args:
        spacing: (row, column) in mm, or None.
        unit: "px" or "mm"; mm needs a spacing.
    """

    def __init__(self, spacing: tuple[float, float] | None, unit: Literal["px", "mm"]):
        self.pixel_mm = math.sqrt(spacing[0] * spacing[1]) if spacing else 1.0
        """Side of a pixel."""
        self.in_mm = spacing is not None and spacing[0] != spacing[1]
        """Whether maps are."""
        to_mm = self.pixel_mm**2
        self.factor = 1.0 if self.in_mm == (unit == "mm") else to_mm if unit == "mm" else 1.0 / to_mm
        """From the map's unit² to `unit`²."""
        self.pixel = self.pixel_mm if unit == "mm" else 1.0
        """Side of a pixel in `unit`."""

    def squared(self, stored: tf.Tensor) -> tf.Tensor:
        """A stored map -> float32 in unit²; +inf where nothing is near, or 256 px or more away."""
        found = tf.cast(stored, tf.float32)
        if self.in_mm:
            return found * self.factor
        return found * self.factor / tf.cast(found < FAR, tf.float32)  # by 0: inf; faster than a choice

    def squared_border(self, stored: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
        """Squared distances to a border, all finite: also where it is far away, or there is none.

        Where a class has a border somewhere in the image, a pixel that is too far for its map gets 256 px.
        Where it has none (the image lacks the class, or shows nothing else), all of them get one pixel: of a
        signed distance the sign is then all that counts.

        Args:
            stored: (batch, height, width, classes), the map.
            valid: (batch, height, width) float32, 1 where the mask is known, else 0.

        Returns:
            (batch, height, width, classes) float32 in unit².
        """
        found = self.squared(stored)
        near = tf.math.is_finite(found)
        somewhere = tf.reduce_any(near & (valid > 0)[..., None], axis=(1, 2), keepdims=True)
        far = tf.where(somewhere, (FAR_PX * self.pixel) ** 2, self.pixel**2)
        return tf.where(near & somewhere, found, far)
