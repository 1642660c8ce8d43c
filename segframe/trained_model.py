"""A trained model as it is used: raw images -> normalise -> pad -> network -> crop -> logits, class ids."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from segframe.batch import pad_edges, padded_size
from segframe.custom_ops import custom_ops
from segframe.errors import SegframeError
from segframe.normalisation import Normalisation
from segframe.outputs import first, predictor
from segframe.step import normalise, two_classes

log = logging.getLogger("segframe")

Logits = Callable[[tf.Tensor], tf.Tensor]
Size = tuple[int | None, ...]

MOST_SIZES = 32  # graphs that are kept; making one takes about a second


class TrainedModel:
    """What segframe.load_model returns.

    Example:
        >>> model = segframe.load_model("runs/NAME")
        >>> model(images)           # (batch, height, width, num_classes) float32 logits
        >>> model.predict(images)   # (batch, height, width) uint8 class ids

    Args:
        network: with its weights.
        config: the run's resolved config.
        versions: of the software that trained it.
        xla: compile with XLA, as the run did: other code, other last bits.
    """

    def __init__(
        self,
        network: keras.Model,
        by: Normalisation,
        *,
        config: Mapping[str, Any],
        class_names: Sequence[str],
        channels: int,
        versions: Mapping[str, str],
        xla: bool,
    ):
        self.network, self.normalisation = network, by
        self.config, self.versions = config, versions
        self.class_names, self.channels = tuple(class_names), channels
        self.xla = xla
        self._graphs: dict[tuple[tf.DType, Size, bool], Logits] = {}
        self._networks: dict[tuple[tf.DType, Size], Logits] = {}
        self._plain = network_logits(predictor(network), by, len(self.class_names))
        self._logits = padded_and_cropped(self._network, size_multiple(network))

    def __call__(self, images: Any) -> np.ndarray:
        """Logits of raw images, all of them in one batch.

        Args:
            images: (batch, height, width, channels), of any height and width: uint8 if the run's data set had
                such images, else float32 in the range that they had. Numbers of another dtype that stand for
                the same, such as 0.0 to 255.0 for uint8, will do.

        Returns:
            (batch, height, width, num_classes) float32, softmax not applied; one sigmoid logit z is [0, z].

        Raises:
            SegframeError: the images have other axes or channels, or are not in the range of the run's.
        """
        checked = self._checked(images)
        if not len(checked):
            return np.zeros((*checked.shape[:3], len(self.class_names)), np.float32)
        return self._on_device(checked, ids=False).numpy()

    def predict(self, images: Any, batch_size: int | None = None) -> np.ndarray:
        """Class ids of raw images, (batch, height, width) uint8; positions in `class_names`.

        Args:
            images: as for calling it.
            batch_size: images at a time; that of the run if None.

        Raises:
            SegframeError: as for calling it, or batch_size is below 1.
        """
        at_once = self.config["train"]["batch_size"] if batch_size is None else batch_size
        if at_once < 1:
            raise SegframeError(
                "batch_size", expected=">= 1", got=str(at_once), remedy="Leave it out for that of the run."
            )
        checked = self._checked(images)
        ids = np.zeros(checked.shape[:3], np.uint8)
        for start in range(0, len(checked), at_once):
            ids[start : start + at_once] = self._on_device(checked[start : start + at_once], ids=True).numpy()
        return ids

    def _on_device(self, checked: np.ndarray, *, ids: bool) -> tf.Tensor:
        """Logits or class ids of images, by one graph: operation by operation, padding costs milliseconds.

        The graph is for this very size: the last bits of one for several depend on which came first.
        """
        image = tf.constant(checked)
        size: Size = tuple(image.shape)
        if (image.dtype, size, ids) not in self._graphs and len(self._graphs) >= MOST_SIZES:
            if len(self._graphs) == MOST_SIZES:
                log.info("Images of more than %d sizes: one graph for any size from here on.", MOST_SIZES)
            size = (None, None, None, self.channels)
        key = image.dtype, size, ids
        if key not in self._graphs:

            def graph(image: tf.Tensor) -> tf.Tensor:
                logits = self._logits(image)
                # There, not here: logits are 4 * num_classes times what is brought from a GPU then.
                return tf.cast(tf.argmax(logits, axis=-1), tf.uint8) if ids else logits

            with custom_ops(allowed=not self.xla):
                self._graphs[key] = _graph(graph, size, image.dtype, xla=False)
        return self._graphs[key](image)

    def _network(self, image: tf.Tensor) -> tf.Tensor:
        """Logits of padded images, by a function of its own: all sizes that are padded to one share it."""
        key = image.dtype, tuple(image.shape)
        if key not in self._networks:
            self._networks[key] = _graph(self._plain, key[1], image.dtype, xla=self.xla)
        return self._networks[key](image)

    def _checked(self, images: Any) -> np.ndarray:
        """The images as uint8 or float32, whichever the run had."""
        found = np.asarray(images)
        if found.ndim != 4 or found.shape[3] != self.channels or 0 in found.shape[1:3]:
            raise SegframeError(
                "images",
                expected=f"(batch, height, width, {self.channels})",
                got=str(found.shape),
                remedy="One image is images[None]; a channel axis is images[..., None].",
            )
        if found.dtype.kind not in "uif" or found.dtype.kind == "f" and not np.isfinite(found).all():
            raise SegframeError(
                "images",
                expected="finite numbers",
                got=str(found.dtype) if found.dtype.kind not in "uif" else "values that are NaN or infinite",
                remedy="Look at where they come from.",
            )
        if self.normalisation.scale == 1.0:
            return self._as_float32(found)
        return found if found.dtype == np.uint8 else self._as_of_uint8(found)

    def _as_float32(self, found: np.ndarray) -> np.ndarray:
        low, high = self.normalisation.low, self.normalisation.high
        if found.dtype.kind != "f":
            raise SegframeError(
                "images",
                expected=f"floats: the run's were float32, {low:g} to {high:g}",
                got=str(found.dtype),
                remedy="Scale them as those were; images.astype('float32') if they are already.",
            )
        return found.astype(np.float32, copy=False)

    def _as_of_uint8(self, found: np.ndarray) -> np.ndarray:
        """Float32 of what may stand for uint8 images."""
        low, high = (float(found.min()), float(found.max())) if found.size else (0.0, 0.0)
        scaled_already = high <= 1 and bool((found % 1 != 0).any())
        if low < 0 or high > 255 or scaled_already:
            raise SegframeError(
                "images",
                expected="values of 0 to 255: the run's images were uint8",
                got=f"{found.dtype} of {low:g} to {high:g}",
                remedy="Multiply by 255." if scaled_already else "Bring them to that range as those were.",
            )
        return found.astype(np.float32, copy=False)


def size_multiple(model: keras.Model) -> int:
    """What height and width must be multiples of inside the network."""
    return int(getattr(model, "size_multiple", 1))


def network_logits(network: keras.Model, by: Normalisation, num_classes: int) -> Logits:
    """Raw images of a size that the network takes -> (batch, height, width, num_classes) float32 logits.

    Args:
        network: with one output (segframe.outputs.predictor).
    """

    def logits(image: tf.Tensor) -> tf.Tensor:
        found = first(network(normalise(image, by), training=False))
        return two_classes(tf.cast(found, tf.float32), num_classes)

    return logits


def padded_and_cropped(logits: Logits, multiple: int) -> Logits:
    """The same for images of any size: padded by their edges as the pipeline does it, and cropped back."""

    def whole(image: tf.Tensor) -> tf.Tensor:
        known = image.shape[1:3].is_fully_defined()
        inside = padded_size(tuple(image.shape[1:3]), multiple) if known else (None, None)
        if known and inside == tuple(image.shape[1:3]):
            return logits(image)
        size = tf.shape(image)[1:3]
        batch = {
            "image": image,
            "mask": tf.zeros(tf.shape(image)[:3], tf.int32),
            "size": tf.tile(size[None], (tf.shape(image)[0], 1)),
        }
        padded = tf.ensure_shape(
            pad_edges(batch, multiple)["image"], (image.shape[0], *inside, image.shape[3])
        )
        return logits(padded)[:, : size[0], : size[1]]

    return whole


def _graph(of: Logits, size: Size, dtype: tf.DType, *, xla: bool) -> Logits:
    # As in the run's steps: without AutoGraph, and the graph itself, as TensorFlow warns of many tracings of
    # one Python function.
    function = tf.function(
        of,
        jit_compile=xla,
        autograph=False,
        # Alone it is optimised as the run's own graph is: inlined, its last bits might be others.
        experimental_attributes={"_noinline": True},
    )
    return function.get_concrete_function(tf.TensorSpec(size, dtype))
