"""The running average of a model's weights (train.weight_average), and what is scored with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf


class WeightAverage:
    """An exponential moving average of all of a model's float weights.

        average <- average + (1 - d_t) (weight - average),        d_t = min(decay, (1 + t) / (10 + t))

    after step t = 0, 1, ...: the second term lets the first, random weights be forgotten sooner. At a
    constant learning rate the last weights are a draw from around a minimum, the average is nearer to its
    middle. It is what is validated, scored and kept, with batch normalisation's statistics taken anew
    (segframe.norm_statistics): the averages of those fit none. The training goes on from the weights
    themselves.

    Args:
        model: built.
        decay: the share of the average that is kept at a step, above 0 and below 1: it reaches back about
            1 / (1 - decay) steps.

    Source:
        Polyak and Juditsky 1992, https://doi.org/10.1137/0330046; d_t of tf.train.ExponentialMovingAverage.
    """

    def __init__(self, model: keras.Model, decay: float):
        self.decay = decay
        # model.weights, not variables: the seeds of dropout are no numbers to average.
        self.weights = [w for w in model.weights if tf.as_dtype(w.dtype).is_floating]
        # int64: TensorFlow keeps int32 variables on the CPU, where XLA on a GPU cannot reach them.
        self.steps = keras.Variable(0, dtype="int64", trainable=False, name="averaged_steps")
        self.averages = [  # of a copy: Keras would take the weight's own variable for the average's
            keras.Variable(tf.identity(weight.value), dtype=weight.dtype, trainable=False, name="average")
            for weight in self.weights
        ]
        self._swap = tf.function(self._swapped)

    @property
    def variables(self) -> list[keras.Variable]:
        """What a checkpoint has to keep."""
        return [self.steps, *self.averages]

    def update(self) -> None:
        """Take in the weights after a step; part of the compiled training step."""
        step = tf.cast(self.steps.value, tf.float32)
        share = 1.0 - tf.minimum(self.decay, (1.0 + step) / (10.0 + step))
        self.steps.assign_add(1)
        for weight, average in zip(self.weights, self.averages, strict=True):
            new = average.value + tf.cast(share, average.value.dtype) * (weight.value - average.value)
            average.assign(new)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the averages within, and its own weights again after it; two moves, bit for bit."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def adopt(self) -> None:
        """Give the model the averages for good."""
        for weight, average in zip(self.weights, self.averages, strict=True):
            weight.assign(average.value)

    def _swapped(self) -> None:
        for weight, average in zip(self.weights, self.averages, strict=True):
            own = tf.identity(weight.value)
            weight.assign(tf.identity(average.value))
            average.assign(own)
