"""What every loss computes with: mask, valid pixels and logits, the ignored pixels taken out."""

from __future__ import annotations

import tensorflow as tf

from segframe.errors import SegframeError


def only_valid(
    mask: tf.Tensor, logits: tf.Tensor, num_classes: int, ignore_index: int, *, classes_first: bool = False
):
    """Mask and logits with the ignored pixels taken out.

    Args:
        mask: (batch, height, width) integer class ids, ignore_index where nothing is known.
        logits: (batch, height, width, num_classes), any float.
        classes_first: return logits as (num_classes, batch, height, width): faster on a CPU for a loss that
            computes class by class.

    Returns:
        mask: int32, -1 where ignored: all 0 as one-hot.
        valid: (batch, height, width) float32, 1 where the mask is known, else 0.
        logits: float32; 0, without gradient, where ignored.

    Raises:
        SegframeError: the logits are not of num_classes, which would broadcast in silence.
    """
    mask, logits = tf.cast(mask, tf.int32), tf.cast(logits, tf.float32)
    if logits.shape.rank is not None and logits.shape[-1] not in (None, num_classes):
        raise SegframeError(
            "logits",
            expected=f"(batch, height, width, {num_classes})",
            got=str(tuple(logits.shape)),
            remedy=f"Give the model {num_classes} outputs.",
        )
    mask = tf.ensure_shape(mask, (None, None, None))
    logits = tf.ensure_shape(logits, (None, None, None, num_classes))
    valid = mask != ignore_index
    if classes_first:
        kept = tf.where(valid[tf.newaxis], tf.transpose(logits, (3, 0, 1, 2)), 0.0)
    else:
        kept = tf.where(valid[..., tf.newaxis], logits, 0.0)
    return tf.where(valid, mask, -1), tf.cast(valid, tf.float32), kept
