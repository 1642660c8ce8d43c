"""The U-Net."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from segframe_unet.blocks import double_conv
from segframe_unet.settings import DecoderSettings, check_encoder

if TYPE_CHECKING:
    import keras


def build_unet(
    *,
    image_shape: tuple[int, int, int],
    num_classes: int,
    depth: int | Literal["auto"] = 4,
    filters: int = 16,
    dropout: float = 0.0,
    upsample: Literal["transpose", "bilinear", "nearest", "subpixel"] = "transpose",
    decoder_filters: Literal["double", "same"] = "double",
    head: Literal["softmax", "sigmoid"] = "softmax",
    norm_momentum: float = 0.9,
    norm_epsilon: float = 1e-3,
    skip: Literal["concat", "split"] = "concat",
    attention: bool = False,
    deep_supervision: int = 0,
) -> keras.Model:
    """U-Net: (3x3 convolution, batch normalisation, ReLU) twice at every level.

    Unlike the paper's, the convolutions pad, so logits are as large as the image.

    Args:
        image_shape: (height, width, channels); height and width matter to depth="auto" alone.
        num_classes: ids in a mask.
        depth: number of 2x poolings, >= 1. "auto": floor(log2(min(height, width) / 8)), at least 1 and at
            most 4, so that the deepest level keeps 8 pixels.
        filters: channels of the first level, doubled at each level below.
        dropout: share of values dropped after each encoder block, the last included, and before its skip.
        upsample: see upsample.upsample_double.
        decoder_filters: "double" goes up to twice the level's channels, which a 3x3 convolution with bias
            halves; "same" goes up straight to the level's channels.
        head: "softmax" gives num_classes logits; "sigmoid" one, for binary masks.
        norm_momentum: share of the old value that a batch normalisation's running mean and variance keep at
            each step.
        norm_epsilon: what a batch normalisation adds to the variance. At batch 1 a channel that is nearly
            flat in one image is divided by sqrt(norm_epsilon): 1e-5 gave spikes of the loss.
        skip: "concat" joins the way up and the skip (segframe_unet.concat); "split" convolves each by itself
            and adds: the same weights and, to rounding, results, with less memory where maps are large.
        attention: gates each skip by what came up (attention.attention_gate).
        deep_supervision: number of decoder levels below the finest that get a head of their own, 0 to
            depth - 1; they are trained with it (decoder.with_heads), and used for nothing else.

    Returns:
        keras.Model: (batch, height, width, channels) float32 -> logits (batch, height, width, num_classes or
        1) float32, for any height and width that are multiples of its `size_multiple`, 2**depth. With deep
        supervision it has further outputs of that shape, and an attribute `output_weights` (segframe_models).

    Raises:
        SegframeError: a setting is out of its range.

    Source:
        Ronneberger et al., 2015, https://arxiv.org/abs/1505.04597, with the batch normalisation, the
        transposed convolution and the decoder of the MagmaDNN project's drawing.
    """
    settings = DecoderSettings(
        num_classes=num_classes, filters=filters, upsample=upsample, decoder_filters=decoder_filters,
        head=head, norm={"momentum": norm_momentum, "epsilon": norm_epsilon}, skip=skip,
        attention=attention, deep_supervision=deep_supervision,
    )  # fmt: skip
    depth = check_encoder(depth, dropout, image_shape)
    settings.check(levels=depth)

    import keras

    from segframe_unet.decoder import decode, with_heads
    from segframe_unet.encoder import encode

    block = partial(double_conv, norm=settings.norm, skip=skip)
    image = keras.Input((None, None, image_shape[-1]), name="image")
    *skips, x = encode(image, block, depth=depth, filters=filters, dropout=dropout)
    return with_heads(image, decode(x, skips, block, settings), settings, size_multiple=2**depth)
