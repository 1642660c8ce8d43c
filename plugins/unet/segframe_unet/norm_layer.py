"""Batch normalisation as one operation."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from segframe import custom_ops_allowed
from segframe_unet import conv_fusion

DTYPES = ("float32", "float16", "bfloat16")
"""What TensorFlow's operation takes."""


@keras.saving.register_keras_serializable(package="segframe_unet")
class BatchNormalization(keras.layers.BatchNormalization):
    """keras.layers.BatchNormalization by TensorFlow's own operation for it, in a run's steps without XLA.

    Keras composes it of a dozen operations, each of which reads and writes whole feature maps. XLA makes one
    of them; TensorFlow alone does not. With this whole training steps take 0.77 to 0.93 of the time on two
    CPU cores, predictions 0.86 to 0.98; on an H200 0.77 to 0.86 and 0.67 to 0.78 (benchmarks/batch_norm.py,
    results/batch_norm_cpu.json, batch_norm_h200.json). Outputs, gradients and running statistics are those of
    Keras to rounding, the arguments and the places of weights in files are the same.

    XLA would compute the operation's variance as E[x^2] - E[x]^2, which is wrong where the mean is large.
    In predictions it is part of the compiled convolution before it, where there is one (conv_fusion). It is
    Keras's layer under XLA, outside of a run's own graphs (segframe.custom_ops_allowed), in float64, with
    a mask, `renorm` or `synchronized`, over another axis than the last of four, and frozen in training.
    """

    def call(self, inputs, training=None, mask=None):
        learns = bool(training) and self.trainable
        frozen = bool(training) and not learns  # the operation's gradient is not for that on every device
        if not custom_ops_allowed() or frozen or mask is not None or not self._one_operation_has(inputs):
            return super().call(inputs, training=training, mask=mask)
        if not learns:
            if conv_fusion.can_finish(inputs):
                return self._joined(inputs)
            return self._operation(inputs, self.moving_mean, self.moving_variance)[0]
        normalised, mean, unbiased = self._operation(inputs)
        count = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
        # Keras's divides by count. That of a single pixel is infinite or no number on a GPU.
        variance = tf.math.multiply_no_nan(unbiased, (count - 1) / count)
        for running, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
            running.assign(running * self.momentum + now * (1.0 - self.momentum))
        return normalised

    def _one_operation_has(self, inputs: tf.Tensor) -> bool:
        over_channels = len(inputs.shape) == 4 and self.axis in (-1, 3)
        return over_channels and inputs.dtype in DTYPES and not self.renorm and not self.synchronized

    def _joined(self, inputs: tf.Tensor) -> tf.Tensor:
        """In one with the compiled convolution that made the inputs."""
        scale, offset = self._scale_and_offset(inputs.shape[-1])
        return conv_fusion.finished(
            inputs,
            subtract=tf.convert_to_tensor(self.moving_mean),
            multiply=scale * tf.math.rsqrt(self.moving_variance + self.epsilon),
            add=offset,
        )

    def _scale_and_offset(self, channels: int) -> tuple[tf.Tensor, tf.Tensor]:
        scale = tf.ones(channels) if self.gamma is None else tf.convert_to_tensor(self.gamma)
        offset = tf.zeros(channels) if self.beta is None else tf.convert_to_tensor(self.beta)
        return scale, offset

    def _operation(self, inputs: tf.Tensor, *statistics: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """(normalised, mean, variance) by these statistics, or by the batch's if there are none."""
        scale, offset = self._scale_and_offset(inputs.shape[-1])
        mean, variance = map(tf.convert_to_tensor, statistics or ([], []))
        normalised, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs, scale=scale, offset=offset, mean=mean, variance=variance,
            epsilon=self.epsilon, is_training=not statistics,
        )  # fmt: skip
        return normalised, mean, variance
