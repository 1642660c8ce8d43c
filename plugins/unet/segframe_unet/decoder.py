"""The way up that all U-shaped networks here share, and the heads on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
from keras import layers

from segframe_unet.attention import attention_gate
from segframe_unet.conv_layer import Conv2D
from segframe_unet.settings import DecoderSettings
from segframe_unet.upsample import BilinearUpsampling2D, upsample_double


def decode(
    x: keras.KerasTensor,
    skips: Sequence[keras.KerasTensor | None],
    block: Callable[..., keras.KerasTensor],
    settings: DecoderSettings,
) -> list[keras.KerasTensor]:
    """Go up from the deepest map `x`, two-fold for each skip.

    Args:
        x: (batch, height, width, channels).
        skips: one for each level, the finest first, of the level's size; None where there is none.
        block: called as block(parts, filters, name=...) on what came up and the skip.

    Returns:
        The levels' maps, the finest first; level n has settings.filters * 2**n channels.
    """
    levels: list[keras.KerasTensor] = []
    for level in reversed(range(len(skips))):
        name, width = f"decoder{level}", settings.filters * 2**level
        if settings.decoder_filters == "double":
            x = upsample_double(x, 2 * width, settings.upsample, name=f"{name}_up")
            x = Conv2D(width, 3, padding="same", name=f"{name}_halve")(x)
        else:
            x = upsample_double(x, width, settings.upsample, name=f"{name}_up")
        parts, skip = [x], skips[level]
        if skip is not None:
            if settings.attention:
                skip = attention_gate(x, skip, norm=settings.norm, name=name)
            parts.append(skip)
        x = block(parts, width, name=name)
        levels.insert(0, x)
    return levels


def with_heads(
    image: keras.KerasTensor,
    levels: Sequence[keras.KerasTensor],
    settings: DecoderSettings,
    *,
    size_multiple: int,
    activate: Callable[..., keras.KerasTensor] | None = None,
) -> keras.Model:
    """The network from the image to a head on the finest level, and on as many more as deep supervision asks.

    A head is a 1x1 convolution in float32. That of level n > 0 is enlarged 2**n-fold to the image's size,
    bilinearly, and its loss weighs 1 / 2**n (nnU-Net, Isensee et al., 2021,
    https://doi.org/10.1038/s41592-020-01008-z).

    Args:
        activate: called as activate(x, name=...) before each head.
    """
    channels = 1 if settings.head == "sigmoid" else settings.num_classes
    outputs = []
    for level, x in enumerate(levels[: 1 + settings.deep_supervision]):
        name = f"logits_aux{level}" if level else "logits"
        if activate:
            x = activate(x, name=name)
        x = layers.Conv2D(channels, 1, dtype="float32", name=name)(x)
        if level:
            x = BilinearUpsampling2D(2**level, dtype="float32", name=f"{name}_up")(x)
        outputs.append(x)
    model = keras.Model(image, outputs if len(outputs) > 1 else outputs[0])
    model.size_multiple = size_multiple
    if len(outputs) > 1:
        model.output_weights = tuple(0.5**level for level in range(len(outputs)))
    return model
