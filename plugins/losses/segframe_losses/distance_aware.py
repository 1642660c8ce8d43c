"""The distance-aware cross-entropy: a wrong pixel costs less the nearer it is to the class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import tensorflow as tf

from segframe import only_valid
from segframe_losses.map_units import MapUnits
from segframe_losses.nearness import squared_distance_within


class DistanceAware:
    """Distance-aware cross-entropy of each image, summed over classes c:

        L = -1/N sum_c sum_ij { (1 - p)^alpha log p                  where the mask is c
                              { (1 - y)^beta p^alpha log(1 - p)      elsewhere
        y = exp(-d^2 / (2 sigma^2)),  d = distance to the nearest pixel of class c; y = 0 if there is none

    over valid pixels. An exponent of 0 drops its factor: alpha = beta = 0 is binary cross-entropy of each
    class, y = one_hot(mask) (sigma to 0) the binary focal loss. Computed from the logarithm of the odds, z =
    log p - log(1 - p), so value and gradient are finite at any logits.

    y comes from the stored map `squared_distance`, made once a mask, or from the mask in the graph: exact up
    to 4 sigma along rows and columns, 0 beyond, so y is within exp(-8) = 3.4e-4. Stored distances end at 256
    px; on a crop of an image the stored map knows the whole of it, the one in the graph sees the crop.

    Args:
        sigma: in the unit of `units`, above 0.
        alpha, beta: at least 0, no unit.
        in_graph: y from the mask in the graph.
        activation: "softmax": p_c over all classes; "sigmoid": each class's logit by itself. For the two
            logits [0, z] of a network with one sigmoid output they are the same.
        include_background: True counts class 0 as well.
        normalize: N, "pixels": valid pixels of the image; "foreground": CornerNet's count of those whose
            class counts. Either is at least 1.

    Source:
        Law and Deng 2018 (CornerNet), https://arxiv.org/abs/1808.01244, equation 1, with distances to the
        nearest pixel of the class in place of those to a corner.
    """

    def __init__(
        self,
        num_classes: int,
        ignore_index: int,
        units: MapUnits,
        spacing: tuple[float, float],
        sigma: float,
        alpha: float,
        beta: float,
        in_graph: bool,
        activation: Literal["softmax", "sigmoid"],
        include_background: bool,
        normalize: Literal["pixels", "foreground"],
    ):
        self.num_classes, self.ignore_index, self.units, self.spacing = (
            num_classes,
            ignore_index,
            units,
            spacing,
        )
        self.sigma, self.alpha, self.beta, self.in_graph = sigma, alpha, beta, in_graph
        self.activation, self.first = activation, 0 if include_background else 1
        self.normalize = normalize
        stored = beta > 0 and not in_graph
        self.maps: tuple[str, ...] = ("squared_distance",) if stored else ()

    def __call__(self, target: Mapping[str, tf.Tensor], logits: tf.Tensor) -> tf.Tensor:
        """(batch,) float32, as segframe_losses in hooks.py says."""
        # Classes come first from here on: a CPU is slower where so short an axis is the last.
        mask, valid, logits = only_valid(
            target["mask"], logits, self.num_classes, self.ignore_index, classes_first=True
        )
        classes = tf.reshape(tf.range(self.first, self.num_classes), (-1, 1, 1, 1))
        there = tf.equal(mask[tf.newaxis], classes)
        counted = valid if self.normalize == "pixels" else tf.cast(tf.reduce_any(there, axis=0), tf.float32)
        one_hot = tf.cast(there, tf.float32)
        # Where the class is, elsewhere() is 0, or 1 with beta = 0.
        weight = tf.maximum(one_hot, self.elsewhere(target, there)) * valid[tf.newaxis]
        costs = weighted_terms(self.log_odds(logits), 2.0 * one_hot - 1.0, weight, self.alpha)
        return tf.reduce_sum(costs, axis=(0, 2, 3)) / tf.maximum(tf.reduce_sum(counted, axis=(1, 2)), 1.0)

    def elsewhere(self, target: Mapping[str, tf.Tensor], there: tf.Tensor) -> tf.Tensor | float:
        """(1 - y)^beta, (classes that count, batch, height, width)."""
        if self.beta == 0:
            return 1.0
        if self.in_graph:
            squared = squared_distance_within(there, 4.0 * self.sigma, self.spacing)
        else:
            stored = tf.transpose(target["squared_distance"][..., self.first :], (3, 0, 1, 2))
            squared = self.units.squared(stored)
        return power(1.0 - tf.exp(squared * (-0.5 / self.sigma**2)), self.beta)

    def log_odds(self, logits: tf.Tensor) -> tf.Tensor:
        """log p - log(1 - p) of the classes that count: of a softmax, z_c - logsumexp of the others."""
        if self.activation == "sigmoid":
            return logits[self.first :]
        if self.num_classes == 2:
            difference = logits[1:] - logits[:1]
            return difference if self.first else tf.concat([-difference, difference], axis=0)
        return tf.stack(odds_of_softmax(tf.unstack(logits))[self.first :])


def odds_of_softmax(logits: list[tf.Tensor]) -> list[tf.Tensor]:
    """Log odds of each class, z_c - logsumexp of the others, from the classes' logits, all of one shape.

    The others are those before and those behind, each summed once for all classes. Class by class, as the
    classes are few: on a CPU a reduction along so short an axis takes several times longer.
    """
    before, behind = [logits[0]], [logits[-1]]  # logsumexp of 0..c and of c.., c growing and falling
    for c in range(1, len(logits) - 1):
        before.append(log_add_exp(before[-1], logits[c]))
        behind.append(log_add_exp(behind[-1], logits[-1 - c]))
    behind.reverse()
    between = [log_add_exp(a, b) for a, b in zip(before, behind[1:], strict=False)]
    return [z - others for z, others in zip(logits, [behind[0], *between, before[-1]], strict=True)]


@tf.custom_gradient
def log_add_exp(a: tf.Tensor, b: tf.Tensor):
    """log(exp(a) + exp(b)). The gradient of what is written here would be wrong where they are equal."""
    difference = a - b
    result = tf.maximum(a, b) + softplus_of_minus_abs(difference)
    return result, lambda upstream: (
        upstream * tf.sigmoid(difference),
        upstream * tf.sigmoid(-difference),
    )


def softplus_of_minus_abs(x: tf.Tensor) -> tf.Tensor:
    """log(1 + exp(-|x|)); on a CPU in two thirds of the time of TensorFlow's softplus."""
    return tf.math.log1p(tf.exp(-tf.abs(x)))


SQUARED = (1, 2, 4, 8)
"""Exponents that squaring reaches."""


def power(base: tf.Tensor, exponent: float) -> tf.Tensor:
    """base^exponent for base >= 0; by squaring where that does it, as pow is many times slower."""
    if exponent == 1:
        return base
    return tf.square(power(base, exponent / 2)) if exponent in SQUARED else tf.pow(base, exponent)


def weighted_terms(log_odds: tf.Tensor, sign: tf.Tensor, weight: tf.Tensor, alpha: float) -> tf.Tensor:
    """weight * -(1 - q)^alpha log q, q = sigmoid(sign * log_odds): what each pixel and class costs.

    With u = -log q and v = -log(1 - q) = u + sign * log_odds this is weight exp(-alpha v) u, and its
    derivative -sign * weight exp(-alpha v) (alpha u q + 1 - q): both from the same logarithm and exponential.

    Args:
        log_odds, sign (1 or -1), weight: of one shape, float32; no gradient flows to the last two.
    """

    @tf.custom_gradient
    def terms(log_odds):
        signed = sign * log_odds
        both = softplus_of_minus_abs(signed)
        u, v = tf.nn.relu(-signed) + both, tf.nn.relu(signed) + both
        wrong = tf.exp(-v)  # 1 - q
        faded = weight
        if alpha:
            faded *= power(wrong, alpha) if alpha in SQUARED else tf.exp(-alpha * v)

        def gradient(upstream):
            slope = wrong + alpha * u * (1.0 - wrong) if alpha else wrong
            return -upstream * sign * faded * slope

        return faded * u, gradient

    return terms(log_odds)
