"""One batch: what a loss is given of it, and how it is padded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from segframe.dataset import IGNORED

MASK_PADDING = {"mask": IGNORED}


def target_of(batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """What a loss is given of a batch: its mask and its maps."""
    return {name: entry for name, entry in batch.items() if name not in ("image", "size", "index")}


def paddings(makers: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    """What masks and maps are filled up by beyond an image, by name.

    Args:
        makers: {name: maker} of the maps (segframe.loss_maps).
    """
    maps = {name: tf.constant(maker.padding, maker.dtype) for name, maker in makers.items()}
    return {"mask": tf.constant(MASK_PADDING["mask"], tf.uint8), **maps}


def pad_edges(
    batch: dict[str, tf.Tensor], multiple: int, padding: Mapping[str, Any] = MASK_PADDING
) -> dict[str, tf.Tensor]:
    """Continue images by their edge pixels, the others by their padding, to the batch's size, rounded up."""
    size = batch["size"]
    there = tf.shape(batch["mask"])[1:]
    height, width = padded_size((there[0], there[1]), multiple)

    def padded() -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        rows = tf.minimum(tf.range(height), size[:, :1] - 1)
        columns = tf.minimum(tf.range(width), size[:, 1:] - 1)
        image = tf.gather(
            tf.gather(batch["image"], rows, batch_dims=1, axis=1), columns, batch_dims=1, axis=2
        )
        more = [[0, 0], [0, height - there[0]], [0, width - there[1]], [0, 0]]
        return image, {
            name: tf.pad(entry, more[: entry.shape.rank], constant_values=padding[name])
            for name, entry in target.items()
        }

    target = target_of(batch)
    whole = tf.reduce_all(size == tf.stack([height, width]))
    image, target = tf.cond(whole, lambda: (batch["image"], target), padded)
    image.set_shape((None, None, None, batch["image"].shape[-1]))
    for name, entry in target.items():
        entry.set_shape((None, None, None, *batch[name].shape[3:]))
    return batch | {"image": image, **target}


def padded_size(size: tuple[Any, Any], multiple: int) -> tuple[Any, Any]:
    """(height, width), each rounded up to the multiple; numbers or tensors."""
    height, width = (-(-each // multiple) * multiple for each in size)
    return height, width
