"""Sums of tensors in one order, so that two runs on a CPU have the same last bits.

TensorFlow's AddN of three and more adds first to the input whose memory it may write on, which is any that no
other operation reads any more: threads decide it. A gradient is such a sum where a map goes three ways, as
the input of Keras's batch normalisation does. Two summands commute, so sums here are chains of those, and
TensorFlow must not join the chains again, as its arithmetic optimisation does ("AddOpsRewrite").

Source: tensorflow/core/kernels/aggregate_ops.h, core/grappler/optimizers/arithmetic_optimizer.cc.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import tensorflow as tf


def keep_sums() -> None:
    """No graph of this process has its sums joined from here on."""
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})


def total(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """tf.add_n, from the first to the last."""
    return reduce(tf.add, tensors)


def gradients(of: tf.Tensor, variables: Sequence[tf.Variable]) -> list[tf.Tensor | None]:
    """d of / d variable for each, within a tf.function; None where `of` does not depend on it.

    A tf.GradientTape would sum by AddN.
    """
    found: list[tf.Tensor | None] = tf.gradients(
        of, list(variables), aggregation_method=tf.AggregationMethod.EXPERIMENTAL_TREE
    )
    return found
