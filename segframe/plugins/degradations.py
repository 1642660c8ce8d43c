"""Noise, blur and cut-outs of one sample, in the tf.data graph: what takes something away from an image.

Called as image_transforms.py says. Keras has layers of these names, and they are not used: they draw from a
generator with a state, so what a sample gets would depend on those before it and on the number of threads (a
seed that is given serves all draws of a layer at once, and none may be a tensor). RandomGaussianBlur cuts the
kernel at 3 pixels and darkens the edges with zeros; RandomErasing leaves no word on where it erased.
"""

from __future__ import annotations

import math
from typing import Literal

import tensorflow as tf

from segframe.dataset import IGNORED
from segframe.plugins.image_transforms import Target, sometimes, stream


class Noise:
    """Adds Gaussian noise to every value by itself, standard deviation uniform in 0..std; clipped to [0, 1].

    Args:
        std: as a share of the range [0, 1].
        probability: share of the samples that it is applied to; the others stay to the bit.
    """

    warps = False

    def __init__(self, std: float, probability: float):
        self.std, self.probability = std, probability

    def __call__(self, image: tf.Tensor, target: Target, seed: tf.Tensor) -> tuple[tf.Tensor, Target]:
        seed = stream(seed, "noise")

        def applied() -> tuple[tf.Tensor, Target]:
            std = self.std * tf.random.stateless_uniform((), seed, alg="philox")
            noise = tf.random.stateless_normal(tf.shape(image), stream(seed, "values"), alg="philox")
            return tf.clip_by_value(image + std * noise, 0.0, 1.0), target

        return sometimes(self.probability, seed, image, target, applied)


class Blur:
    """Blurs with a Gaussian, sigma uniform between its bounds; the image goes on as its mirror image.

    The kernel is cut at 4 times the largest sigma and has the sum 1: scipy.ndimage.gaussian_filter with
    mode="reflect" and that radius.

    Args:
        sigma_min_px, sigma_max_px: above 0, pixels.
        probability: share of the samples that it is applied to; the others stay to the bit.
    """

    warps = False

    def __init__(self, sigma_min_px: float, sigma_max_px: float, probability: float):
        self.sigma_min_px, self.sigma_max_px, self.probability = sigma_min_px, sigma_max_px, probability
        self.radius = math.ceil(4 * sigma_max_px)

    def __call__(self, image: tf.Tensor, target: Target, seed: tf.Tensor) -> tuple[tf.Tensor, Target]:
        seed = stream(seed, "blur")

        def applied() -> tuple[tf.Tensor, Target]:
            drawn = tf.random.stateless_uniform((), seed, self.sigma_min_px, self.sigma_max_px, alg="philox")
            away = tf.range(-self.radius, self.radius + 1, dtype=tf.float32)
            kernel = tf.exp(-0.5 * tf.square(away / drawn))
            kernel /= tf.reduce_sum(kernel)
            blurred = self._along(self._along(image, kernel, 0), kernel, 1)
            return tf.clip_by_value(tf.ensure_shape(blurred, image.shape), 0.0, 1.0), target

        return sometimes(self.probability, seed, image, target, applied)

    def _along(self, image: tf.Tensor, kernel: tf.Tensor, axis: int) -> tf.Tensor:
        length = tf.shape(image)[axis]
        around = tf.math.floormod(tf.range(-self.radius, length + self.radius), 2 * length)
        mirrored = tf.gather(image, tf.minimum(around, 2 * length - 1 - around), axis=axis)
        taps = tf.reshape(kernel, (-1, 1, 1, 1) if axis == 0 else (1, -1, 1, 1))
        filters = tf.tile(taps, (1, 1, tf.shape(image)[2], 1))
        return tf.nn.depthwise_conv2d(mirrored[None], filters, (1, 1, 1, 1), "VALID")[0]


class CutOut:
    """Replaces rectangles by each channel's mean of the image.

    Centres are uniform over the image, sides uniform in 0..size_share of height and width; what lies outside
    is cut off.

    Args:
        holes: rectangles of a sample, at least 1.
        size_share: largest side, of height and of width.
        mask: "ignore": pixels that cannot be seen count nowhere, as ignored ones do. "keep": the network is
            to guess from what is around them. Stored maps stay as they are.
        probability: share of the samples that it is applied to; the others stay to the bit.

    Source:
        DeVries and Taylor 2017, https://arxiv.org/abs/1708.04552: squares of one size.
    """

    warps = False

    def __init__(self, holes: int, size_share: float, mask: Literal["ignore", "keep"], probability: float):
        self.holes, self.size_share, self.mask, self.probability = holes, size_share, mask, probability

    def __call__(self, image: tf.Tensor, target: Target, seed: tf.Tensor) -> tuple[tf.Tensor, Target]:
        seed = stream(seed, "cutout")
        return sometimes(self.probability, seed, image, target, lambda: self._applied(image, target, seed))

    def _applied(self, image: tf.Tensor, target: Target, seed: tf.Tensor) -> tuple[tf.Tensor, Target]:
        hidden = self._hidden(tf.shape(image), seed)
        mean = tf.reduce_mean(image, axis=(0, 1), keepdims=True)
        image = tf.where(hidden[..., None], mean, image)
        if self.mask == "ignore":
            target = target | {"mask": tf.where(hidden, IGNORED, target["mask"])}
        return image, target

    def _hidden(self, shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """(height, width) bool."""
        size = tf.cast(shape[:2], tf.float32)
        draws = tf.random.stateless_uniform((2, 2, self.holes), seed, alg="philox")
        centres = draws[0] * size[:, None]
        halves = draws[1] * (0.5 * self.size_share) * size[:, None]

        def within(axis: int) -> tf.Tensor:
            middles = tf.range(size[axis])[:, None] + 0.5
            return tf.abs(middles - centres[axis]) <= halves[axis]

        return tf.reduce_any(within(0)[:, None] & within(1)[None], axis=-1)
