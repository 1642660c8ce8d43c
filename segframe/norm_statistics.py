"""Batch normalisation's means and variances, taken anew before a model is scored (train.norm_statistics)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from segframe.errors import SegframeError

MOST_BATCHES = 200
"""Of training, that they are taken over; as many as fvcore's update_bn_stats takes."""
FEW_BATCHES = 50
"""That they are taken over at least, where an epoch has fewer steps than a pass over the data."""
NOISE = {"Dropout": "rate", "AlphaDropout": "rate", "GaussianDropout": "rate", "GaussianNoise": "stddev"}
"""Keras's layers that draw random numbers in training, and what turns each off when it is 0."""


TakeIn = Callable[[tf.Tensor], None]


class NormStatistics:
    """What a model's batch normalisations normalise by at inference, without what training adds to it.

    The running mean and variance that training leaves behind are of its last few batches, of weights that
    have changed since, and with dropout: a layer behind it then saw a larger variance than it does at
    inference, much larger where a kernel's weights add up to about nothing and what it sees is flat. An
    average of weights (train.weight_average) never had any of its own. Here both are taken over training
    batches with the weights as they are and dropout off. Of the mean m_k and the variance v_k in batch k of
    n_k images:

        mean = sum_k n_k m_k / sum_k n_k,        variance = sum_k n_k v_k / sum_k n_k

    Args:
        model: built.
        normalised: raw images of a training batch -> what the model takes.
        compiled: a function of such images -> the same as a graph.

    Source:
        Wu and Johnson 2021, https://arxiv.org/abs/2105.07576 (section 3); Li et al. 2019,
        https://arxiv.org/abs/1801.05134, on dropout. The mean of the batches' variances, as PyTorch's
        torch.optim.swa_utils.update_bn has it.
    """

    def __init__(
        self,
        model: keras.Model,
        normalised: Callable[[tf.Tensor], tf.Tensor],
        compiled: Callable[[TakeIn], TakeIn],
    ):
        self.model, self.normalised, self._compiled = model, normalised, compiled(self._take_in)
        self.norms = batch_norms(model)
        self.variables = [v for norm in self.norms for v in (norm.moving_mean, norm.moving_variance)]
        ours = {id(variable) for variable in self.variables}
        # Whatever else a layer changes in training: random seeds, other statistics of its own.
        self._others = [v for v in model.variables if not v.trainable and id(v) not in ours]
        self._kept = tf.Variable(0.0, trainable=False, name="kept_share")

    def _take_in(self, image: tf.Tensor) -> None:
        """A batch's means and variances."""
        kept = self._kept.value()
        calls = [0] * len(self.norms)
        changes: list[tuple[Any, str, Any]] = [(norm, "momentum", kept) for norm in self.norms]
        changes += [(norm, "call", _counting(norm, calls, i)) for i, norm in enumerate(self.norms)]
        changes += [(layer, name, 0.0) for layer, name in noises(self.model)]
        with _with(changes):
            self.model(self.normalised(image), training=True)
        if again := [
            f"{norm.name} {count} times" for norm, count in zip(self.norms, calls, strict=True) if count > 1
        ]:
            raise SegframeError(
                "train.norm_statistics",
                expected="batch normalisations that the model calls once each",
                got=", ".join(again),
                remedy="train.norm_statistics=running scores with those of training.",
            )

    def recompute(self, images: Iterable[tf.Tensor]) -> None:
        """Take them over these batches of raw images; all else of the model stays.

        Raises:
            SegframeError: a normalisation is called several times, for each of which a share would be lost.
        """
        others = [tf.identity(variable.value) for variable in self._others]
        for variable in self.variables:
            variable.assign(tf.zeros_like(variable.value))  # whatever was there: 0 times infinity is not 0
        seen = 0
        try:
            for image in images:
                self._kept.assign(seen / (seen + image.shape[0]))
                self._compiled(image)
                seen += image.shape[0]
        finally:
            _assign(self._others, others)

    @contextmanager
    def in_place(self, images: Iterable[tf.Tensor]) -> Iterator[None]:
        """The model has them within, and those of training again after it: scoring leaves no trace."""
        own = [tf.identity(variable.value) for variable in self.variables]
        try:
            self.recompute(images)
            yield
        finally:
            _assign(self.variables, own)


def _assign(variables: list[keras.Variable], values: list[tf.Tensor]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _counting(norm: keras.layers.Layer, calls: list[int], position: int) -> Callable[..., Any]:
    call = norm.call

    def counted(*arguments: Any, **named: Any) -> Any:
        calls[position] += 1
        return call(*arguments, **named)

    return counted


def batch_norms(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """Those that change in training, of nested models too."""
    found = (layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization))
    return [layer for layer in found if layer.trainable and layer.built]


def noises(model: keras.Model) -> list[tuple[keras.layers.Layer, str]]:
    """The layers that draw random numbers in training, each with the attribute that turns it off."""
    kinds = [(getattr(keras.layers, kind), name) for kind, name in NOISE.items()]
    return [
        (layer, name)
        for layer in model._flatten_layers()
        for kind, name in kinds
        if isinstance(layer, kind) and getattr(layer, name)
    ]


def needed(asked: str, model: keras.Model, averaged: bool) -> tuple[bool, str]:
    """Whether train.norm_statistics takes them anew, and why."""
    norms, noisy = batch_norms(model), noises(model)
    if asked == "running":
        return False, ""
    if not norms:
        return False, "the model has no batch normalisation" if asked == "recomputed" else ""
    if asked == "recomputed":
        return True, ""
    why = [*(["dropout"] if noisy else []), *(["train.weight_average"] if averaged else [])]
    return bool(why), " and ".join(why)


_CLASS = object()
"""An attribute that is the class's."""


@contextmanager
def _with(changes: list[tuple[Any, str, Any]]) -> Iterator[None]:
    """Attributes of layers changed within. Not by their own setattr, which would take a tensor as theirs."""
    before = [(layer, name, vars(layer).get(name, _CLASS)) for layer, name, _ in changes]
    try:
        for layer, name, value in changes:
            object.__setattr__(layer, name, value)
        yield
    finally:
        for layer, name, value in before:
            if value is _CLASS:
                object.__delattr__(layer, name)
            else:
                object.__setattr__(layer, name, value)
