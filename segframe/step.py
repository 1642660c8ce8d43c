"""The compiled training step and the compiled evaluation step of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from segframe.custom_ops import custom_ops
from segframe.norm_statistics import NormStatistics
from segframe.normalisation import Normalisation
from segframe.outputs import first, output_weights, predictor
from segframe.sum_order import gradients, total
from segframe.weight_average import WeightAverage


class Steps:
    """One weight update, and one prediction, as tf.functions of images and target: {"mask": ..., maps}.

    A model with several outputs is trained on all of them and predicts with the first (segframe.outputs).

    Args:
        optimizer: None where nothing is trained.
        scaled: training images arrive scaled already (segframe.pipeline.Pipeline.scaled).
        xla: compile with XLA, once for every image size.
        average: takes in the weights after each update.
        norm_statistics: batch normalisation's are to be taken anew before scoring.
        full_size: (height, width) of a padded batch that has the data's largest image. Batches of this size
            have a graph of their own, for their number of images; all others of that number share one for
            any size. So the graph of a batch, and with it the last bits, depends on nothing but its own
            shape, and a resumed run takes the same.
    """

    def __init__(
        self,
        model: keras.Model,
        loss: Any,
        optimizer: keras.optimizers.Optimizer | None,
        normalisation: Normalisation,
        *,
        num_classes: int,
        scaled: bool,
        xla: bool,
        average: WeightAverage | None = None,
        norm_statistics: bool = False,
        full_size: tuple[int, int] | None = None,
    ):
        self.model, self.loss = model, loss
        self.optimizer: Any = optimizer
        self.normalisation, self.num_classes, self.scaled = normalisation, num_classes, scaled
        self.average, self.full_size = average, full_size
        self.output_weights, self.predictor = output_weights(model), predictor(model)
        self.xla = xla
        self.train = self._compiled(self._train, xla)
        self.evaluate = self._compiled(self._evaluate, xla)
        self.evaluate_tiles = self._compiled(self._evaluate_tiles, xla)
        self.norm_statistics = (
            NormStatistics(model, self._normalised, self._compiled_for_images) if norm_statistics else None
        )

    def _compiled(self, step, xla: bool):
        def traced(image, target):
            with custom_ops(allowed=not xla):
                return step(image, target)

        functions: dict[tuple[int, bool], Any] = {}

        def chosen(image: tf.Tensor, target: dict[str, tf.Tensor]):
            key = image.shape[0], tuple(image.shape[1:3]) == self.full_size
            if key not in functions:
                # Without AutoGraph, which reads the source again when it traces: an edit during a run would
                # mix functions. The graph itself is called: TensorFlow counts the tracings of one Python
                # function, however few each graph needs, and warns.
                functions[key] = tf.function(traced, jit_compile=xla, autograph=False).get_concrete_function(
                    *_signature(image, target, sizes_known=key[1])
                )
            return functions[key](image, target)

        return chosen

    def _train(self, image: tf.Tensor, target: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Update the weights once; returns the batch's mean loss, and (batch,) each image's.

        With several outputs the loss of an image is sum_k w_k loss(target, logits_k) / sum_k w_k.
        """
        target = for_loss(target)
        per_image = self._trained_loss(image, target)
        mean = tf.reduce_mean(per_image)
        if self.model.losses:  # weight penalties of layers
            mean += total([tf.cast(loss, tf.float32) for loss in self.model.losses])
        scaled = self.optimizer.scale_loss(mean)
        variables = [variable.value for variable in self.model.trainable_variables]
        self.optimizer.apply(gradients(scaled, variables), self.model.trainable_variables)
        if self.average:
            self.average.update()
        return mean, per_image

    def _evaluate(self, image: tf.Tensor, target: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """(batch,) loss of each image, and (batch, height, width) uint8 predicted class ids."""
        loss, logits = self._evaluate_tiles(image, target)
        return loss, tf.cast(tf.argmax(logits, axis=-1), tf.uint8)

    def _evaluate_tiles(self, image: tf.Tensor, target: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """(batch,) loss of each tile, and its logits, to be blended with those of its neighbours."""
        logits = self.logits(image)
        return self.loss(for_loss(target), logits), logits

    def _trained_loss(self, image: tf.Tensor, target: dict[str, tf.Tensor]) -> tf.Tensor:
        """(batch,) loss of each image, of all outputs together."""
        outputs = self.model(self._normalised(image), training=True)
        losses = [self.loss(target, self._all_classes(logits)) for logits in keras.tree.flatten(outputs)]
        if len(losses) == 1:
            return losses[0]
        whole = sum(self.output_weights)
        return total(
            [weight / whole * loss for weight, loss in zip(self.output_weights, losses, strict=True)]
        )

    def _normalised(self, image: tf.Tensor) -> tf.Tensor:
        """Images as training batches have them -> what the model takes."""
        return normalise(image, self.normalisation, scaled=self.scaled)

    def _compiled_for_images(self, step: Callable[[tf.Tensor], None]) -> Callable[[tf.Tensor], None]:
        compiled = self._compiled(lambda image, target: step(image), self.xla)
        return lambda image: compiled(image, {})

    def logits(self, image: tf.Tensor) -> tf.Tensor:
        """Raw images -> (batch, height, width, num_classes) float32 logits of the prediction."""
        return self._all_classes(first(self.predictor(normalise(image, self.normalisation), training=False)))

    def _all_classes(self, logits: tf.Tensor) -> tf.Tensor:
        return two_classes(tf.cast(logits, tf.float32), self.num_classes)


def _signature(image: tf.Tensor, target: dict[str, tf.Tensor], *, sizes_known: bool) -> list[Any]:
    def spec(entry: tf.Tensor) -> tf.TensorSpec:
        images, height, width, *rest = entry.shape
        return tf.TensorSpec(
            (images, *((height, width) if sizes_known else (None, None)), *rest), entry.dtype
        )

    return [spec(image), {name: spec(entry) for name, entry in target.items()}]


def for_loss(target: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """A batch's target as a loss takes it: masks travel as uint8 and are int32 from here on."""
    return {**target, "mask": tf.cast(target["mask"], tf.int32)}


def normalise(image: tf.Tensor, by: Normalisation, *, scaled: bool = False) -> tf.Tensor:
    """(raw * scale - mean) / std in float32; `scaled`: the images are raw * scale already."""
    image = tf.cast(image, tf.float32)
    if not scaled:
        image *= by.scale
    return (image - tf.constant(by.mean, tf.float32)) / tf.constant(by.std, tf.float32)


def two_classes(logits: tf.Tensor, num_classes: int) -> tf.Tensor:
    """One sigmoid logit z as the two softmax logits [0, z]: the same probabilities. Others pass."""
    if num_classes == 2 and logits.shape[-1] == 1:
        return tf.concat([tf.zeros_like(logits), logits], axis=-1)
    return logits
