"""The boundary loss and the Hausdorff loss: predictions weighed by how far the mask's borders are."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from segframe import only_valid
from segframe_losses.map_units import MapUnits


class _Border:
    """What both share: d_c, the distance of a pixel to the border of class c in the mask.

        d_c(i, j) = distance to the nearest pixel of c        where the mask is another class
                  = distance to the nearest pixel not of c    where it is c

    between pixel centres, so at least one pixel on either side; MapUnits says what it is where the border
    is far away or there is none.
    """

    maps: tuple[str, ...] = ("squared_distance", "squared_distance_to_others")

    def __init__(self, num_classes: int, ignore_index: int, units: MapUnits, include_background: bool):
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.units, self.first = units, 0 if include_background else 1

    def parts(self, target: Mapping[str, tf.Tensor], logits: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Of the classes that count: one-hot mask y, probabilities p (both 0 where ignored) and d², all
        (batch, height, width, classes) float32; and N, valid pixels, (batch,), at least 1."""
        mask, valid, logits = only_valid(target["mask"], logits, self.num_classes, self.ignore_index)
        one_hot = tf.one_hot(mask, self.num_classes)
        outside, inside = (tf.cast(target[name], tf.float32) for name in self.maps)
        stored = tf.where(one_hot > 0, inside, outside)
        squared = self.units.squared_border(stored, valid)
        probabilities = tf.nn.softmax(logits) * valid[..., None]
        pixels = tf.maximum(tf.reduce_sum(valid, axis=(1, 2)), 1.0)
        return (*(found[..., self.first :] for found in (one_hot, probabilities, squared)), pixels)


class Boundary(_Border):
    """Boundary loss of each image:

        L = 1/N sum_ij sum_c phi_c p_c,    phi_c = -d_c where the mask is c, d_c elsewhere
        p = softmax(logits), d_c of segframe_losses.boundary._Border, N valid pixels

    in px or mm. It is below 0 where the mask is hit: the smallest value is that of the mask itself. Its
    gradient fades where a prediction is sure; the authors add it to a region loss, with a weight that grows.

    The paper's phi is the signed distance to the border, symmetric as here. The authors' code has
    -(d_c - 1) inside, which leaves pixels along the border out, and has no meaning for pixels that are not
    square. Where the image lacks class c their code has phi_c = 0; here it is one pixel, so that in every
    pixel the mask's own class is the cheapest.

    Args:
        units: in which d is measured.
        include_background: False leaves class 0 out of the sum, as the paper does with two classes.

    Source:
        Kervadec et al. 2019, https://arxiv.org/abs/1812.07032.
    """

    def __call__(self, target: Mapping[str, tf.Tensor], logits: tf.Tensor) -> tf.Tensor:
        """(batch,) float32, as segframe_losses in hooks.py says."""
        one_hot, probabilities, squared, pixels = self.parts(target, logits)
        phi = tf.sqrt(squared) * (1.0 - 2.0 * one_hot)
        return tf.reduce_sum(phi * probabilities, axis=(1, 2, 3)) / pixels


class HausdorffDT(_Border):
    """Hausdorff loss by distance transform of each image, the one-sided form:

        L = 1/N sum_ij sum_c (y_c - p_c)^2 d_c^alpha
        y = one_hot(mask), p = softmax(logits), d_c of segframe_losses.boundary._Border, N valid pixels

    in px^alpha or mm^alpha. One-sided: the distance is that to the mask's border alone, made once a mask.
    The paper's other form adds the distance to the prediction's border, a transform of each prediction
    in each step.

    Args:
        units: in which d is measured.
        include_background: False leaves class 0 out of the sum.
        alpha: above 0, no unit; how much more a far error costs.

    Source:
        Karimi and Salcudean 2019, https://arxiv.org/abs/1904.10030.
    """

    def __init__(
        self, num_classes: int, ignore_index: int, units: MapUnits, include_background: bool, alpha: float
    ):
        super().__init__(num_classes, ignore_index, units, include_background)
        self.alpha = alpha

    def __call__(self, target: Mapping[str, tf.Tensor], logits: tf.Tensor) -> tf.Tensor:
        """(batch,) float32, as segframe_losses in hooks.py says."""
        one_hot, probabilities, squared, pixels = self.parts(target, logits)
        # one_hot is 0 where ignored, and so are the probabilities.
        errors = tf.square(one_hot - probabilities) * tf.pow(squared, self.alpha / 2.0)
        return tf.reduce_sum(errors, axis=(1, 2, 3)) / pixels
