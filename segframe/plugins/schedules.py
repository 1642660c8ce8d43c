"""The learning rate over a run: linear warm-up, then constant, cosine or polynomial decay; one cycle."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

ONE_CYCLE_START = 1 / 25
"""Share of the learning rate that one_cycle begins with."""


@keras.saving.register_keras_serializable("segframe")
class WarmUpThenDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate of each step, counted from 0; a function of the step alone.

        (step + 1) / warmup_steps * learning_rate                         for step < warmup_steps
        (f + (1 - f) * decay(t)) * learning_rate                          after, f = final_fraction,
        t = min((step - warmup_steps) / (total_steps - warmup_steps), 1)
        decay(t) = 1 (constant), (1 + cos(pi t)) / 2 (cosine, one_cycle), (1 - t)^power (polynomial)

    one_cycle rises by a cosine too, from 1/25 of the learning rate at step 0 to the whole at warmup_steps.
    Its momentum stays as it is. So the first and the last step of a run learn something, and f is reached
    after the last one.

    Args:
        kind: constant, cosine, polynomial or one_cycle.
        power: of polynomial, above 0; 1 is linear.

    Source:
        Cosine: Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983. Polynomial: Chen et al. 2018,
        https://arxiv.org/abs/1606.00915. Warm-up: Goyal et al. 2017, https://arxiv.org/abs/1706.02677. One
        cycle: Smith and Topin 2018, https://arxiv.org/abs/1708.07120, with cosines as PyTorch's OneCycleLR
        has it (the tests compare).
    """

    def __init__(
        self,
        *,
        kind: str,
        learning_rate: float,
        total_steps: int,
        warmup_steps: int,
        final_fraction: float,
        power: float,
    ):
        super().__init__()
        self.kind, self.learning_rate, self.total_steps = kind, learning_rate, total_steps
        self.warmup_steps, self.final_fraction, self.power = warmup_steps, final_fraction, power

    def __call__(self, step: Any) -> tf.Tensor:
        # Subtracted as integers: float32 counts steps exactly only to 2^24.
        step = tf.cast(step, tf.int64)
        decay_steps = self.total_steps - self.warmup_steps
        after = tf.clip_by_value(step - self.warmup_steps, 0, decay_steps)
        t = tf.cast(after, tf.float32) / decay_steps
        decay = {
            "constant": lambda: tf.ones_like(t),
            "cosine": lambda: _half_cosine(t),
            "polynomial": lambda: tf.pow(1.0 - t, self.power),
            "one_cycle": lambda: _half_cosine(t),
        }[self.kind]()
        if self.kind != "constant":
            decay = self.final_fraction + (1.0 - self.final_fraction) * decay
        if self.kind == "one_cycle":
            risen = tf.cast(tf.minimum(step, self.warmup_steps), tf.float32) / self.warmup_steps
            warmup = 1.0 + (ONE_CYCLE_START - 1.0) * _half_cosine(risen)
        else:
            warmup = tf.cast(tf.minimum(step + 1, self.warmup_steps), tf.float32) / max(self.warmup_steps, 1)
        return self.learning_rate * tf.where(step < self.warmup_steps, warmup, decay)

    def get_config(self) -> dict[str, Any]:
        keys = ("kind", "learning_rate", "total_steps", "warmup_steps", "final_fraction", "power")
        return {key: getattr(self, key) for key in keys}


def _half_cosine(t: tf.Tensor) -> tf.Tensor:
    """1 at t = 0, 0 at t = 1."""
    return 0.5 * (1.0 + tf.cos(math.pi * t))


def learning_rate_at(optimizer: keras.optimizers.Optimizer, step: int) -> float:
    """The learning rate of a step, from the schedule or, without one, as it stands; for the log."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # float16's loss scaling wraps ours
    rate = optimizer._learning_rate
    return float(rate(step) if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule) else rate)
