"""Flips, quarter turns and changes of intensity of one sample, in the tf.data graph.

Each is called as augment(image, target, seed) -> (image, target), as segframe_augmentations says. What
moves pixels moves every entry of the target with them. Each draws from a stream of its own, so that two
augmentations that are given one seed do not turn in step; Philox, so that eager, graph and XLA agree.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable

import tensorflow as tf

Target = dict[str, tf.Tensor]


class Flip:
    """Mirrors, each way with probability 1/2.

    Args:
        horizontal: left and right exchanged (the width axis).
        vertical: top and bottom exchanged (the height axis).
    """

    warps, moves_only = False, True

    def __init__(self, horizontal: bool, vertical: bool):
        self.horizontal, self.vertical = horizontal, vertical

    def __call__(self, image: tf.Tensor, target: Target, seed: tf.Tensor) -> tuple[tf.Tensor, Target]:
        coins = tf.random.stateless_uniform((2,), stream(seed, "flip"), alg="philox") < 0.5
        for axis, enabled in enumerate((self.vertical, self.horizontal)):
            if enabled:
                image, target = _everywhere(image, target, _mirror(coins[axis], axis))
        return image, target


class QuarterTurn:
    """Turns by 0, 90, 180 or 270 degrees, equally likely; by 0 or 180 where height and width differ."""

    warps, moves_only = False, True

    def __call__(self, image: tf.Tensor, target: Target, seed: tf.Tensor) -> tuple[tf.Tensor, Target]:
        height, width = image.shape[0], image.shape[1]
        quarters = tf.random.stateless_uniform((), stream(seed, "quarter_turn"), 0, 4, tf.int32, alg="philox")
        if height is None or width is None:
            shape = tf.shape(image)
            quarters = tf.where(shape[0] == shape[1], quarters, quarters // 2 * 2)
        elif height != width:
            return _everywhere(image, target, _mirror(quarters >= 2, 0, 1))
        return _everywhere(image, target, lambda x: _turned(x, quarters))


class Intensity:
    """Gamma, then contrast, then brightness, one draw of each for the image; clipped to [0, 1].

        image <- image^e,                          log e uniform in +-log(1 + gamma)
        image <- mean + (image - mean) * c,        c uniform in 1 +- contrast, mean of each channel
        image <- image + b,                        b uniform in +-brightness

    Args:
        brightness: as a share of the range [0, 1], from 0 to 1.
        contrast: no unit, from 0 to below 1.
        gamma: no unit, at least 0; 0 leaves it out.
    """

    warps = False

    def __init__(self, brightness: float, contrast: float, gamma: float):
        self.brightness, self.contrast, self.gamma = brightness, contrast, gamma

    def __call__(self, image: tf.Tensor, target: Target, seed: tf.Tensor) -> tuple[tf.Tensor, Target]:
        draws = tf.random.stateless_uniform((3,), stream(seed, "intensity"), -1.0, 1.0, alg="philox")
        if self.gamma:
            exponent = tf.exp(draws[2] * math.log1p(self.gamma))
            # exp(e log x) in a third of pow's time; at 0 it is exp(-inf), 0.
            image = tf.exp(exponent * tf.math.log(tf.clip_by_value(image, 0.0, 1.0)))
        mean = tf.reduce_mean(image, axis=(0, 1), keepdims=True)
        image = mean + (image - mean) * (1.0 + self.contrast * draws[1]) + self.brightness * draws[0]
        return tf.clip_by_value(image, 0.0, 1.0), target


def stream(seed: tf.Tensor, name: str) -> tf.Tensor:
    """A seed of this name's own, (2,) int32, made from another."""
    # crc32, as Python's own hash of a string differs from process to process.
    return tf.random.experimental.stateless_fold_in(
        seed, zlib.crc32(name.encode()) & 0x7FFFFFFF, alg="philox"
    )


def chosen(probability: float, seed: tf.Tensor) -> tf.Tensor:
    """Whether `sometimes` applies it: () bool."""
    return tf.random.stateless_uniform((), stream(seed, "sometimes"), alg="philox") < probability


def sometimes(
    probability: float,
    seed: tf.Tensor,
    image: tf.Tensor,
    target: Target,
    applied: Callable[[], tuple[tf.Tensor, Target]],
) -> tuple[tf.Tensor, Target]:
    """What `applied` gives, for this share of the samples; the others as they are."""
    if probability == 1:
        return applied()
    return either(chosen(probability, seed), applied, lambda: (image, target), image, target)


def either(
    condition: tf.Tensor,
    applied: Callable[[], tuple[tf.Tensor, Target]],
    otherwise: Callable[[], tuple[tf.Tensor, Target]],
    image: tf.Tensor,
    target: Target,
) -> tuple[tf.Tensor, Target]:
    """One of two, whose shapes are those of image and target."""
    moved, entries = tf.cond(condition, applied, otherwise)
    return tf.ensure_shape(moved, image.shape), {
        name: tf.ensure_shape(entry, target[name].shape) for name, entry in entries.items()
    }


def _everywhere(
    image: tf.Tensor, target: Target, move: Callable[[tf.Tensor], tf.Tensor]
) -> tuple[tf.Tensor, Target]:
    return move(image), {name: move(entry) for name, entry in target.items()}


def _mirror(wanted: tf.Tensor, *axes: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """(height, width, ...) mirrored along the axes where `wanted`; the static shape stays."""
    return lambda x: tf.ensure_shape(tf.cond(wanted, lambda: _reversed(x, *axes), lambda: x), x.shape)


def _reversed(x: tf.Tensor, *axes: int) -> tf.Tensor:
    """tf.reverse of (height, width, ...) along axes 0, 1 or both; 0.5 to 1.0 of its time on a CPU."""
    if 0 in axes:
        x = tf.gather(x, tf.range(tf.shape(x)[0] - 1, -1, -1))  # copies whole rows
    if 1 not in axes:
        return x
    # tf.reverse has a quick way along the second of three axes for three channels, and along the last of two.
    if x.shape.rank == 3 and x.shape[2] == 1:
        return tf.reverse(tf.squeeze(x, 2), (1,))[..., tf.newaxis]
    return tf.reverse(x, (1,))


def _turned(x: tf.Tensor, quarters: tf.Tensor) -> tf.Tensor:
    """(height, width, ...) turned counter-clockwise by that many quarters, as numpy.rot90 does."""
    across = tf.transpose(x, (1, 0, *range(2, x.shape.rank)))
    return tf.switch_case(
        quarters,
        [
            lambda: tf.identity(x),
            lambda: _reversed(across, 0),
            lambda: _reversed(x, 0, 1),
            lambda: _reversed(across, 1),
        ],
    )
