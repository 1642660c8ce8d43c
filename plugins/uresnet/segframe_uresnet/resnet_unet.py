"""The U-Net's decoder on the encoder of a classification network."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal, get_args

from segframe_unet.blocks import double_conv
from segframe_unet.settings import DecoderSettings, check, choice
from segframe_uresnet.encoder_weights import check_file, with_weights
from segframe_uresnet.encoders import SIZE_MULTIPLE, Name, build_encoder

if TYPE_CHECKING:
    import keras


def build_resnet_unet(
    *,
    image_shape: tuple[int, int, int],
    num_classes: int,
    encoder: Name = "resnet18",
    encoder_weights: str | None = None,
    filters: int = 16,
    upsample: Literal["transpose", "bilinear", "nearest", "subpixel"] = "transpose",
    decoder_filters: Literal["double", "same"] = "double",
    head: Literal["softmax", "sigmoid"] = "softmax",
    norm_momentum: float = 0.9,
    norm_epsilon: float = 1e-3,
    skip: Literal["concat", "split"] = "concat",
    attention: bool = False,
    deep_supervision: int = 0,
) -> keras.Model:
    """A ResNet, or another encoder, and the U-Net's way up: five levels, 1/32 of the size to the whole.

    The skips are the encoder's maps at 1/16, 1/8, 1/4 and 1/2 of the size; the finest level has none.

    Arguments that are not here are segframe_unet.unet.build_unet's, for the decoder; deep_supervision is at
    most 4. norm_momentum is that of all batch normalisations; norm_epsilon that of the decoder's and of
    resnet18, 34 and 50.

    Args:
        encoder: "resnet18", "resnet34", "resnet50" (encoders.resnet), or a network of keras.applications.
            Each normalises nothing itself: images arrive normalised by the training split, whatever the
            network's own preprocessing is.
        encoder_weights: a local file with the encoder's weights (encoder_weights.with_weights), or None for
            random ones. Such a file of resnet18, 34 or 50 is written by
            encoders.build_encoder(...).save_weights("x.weights.h5"). With the weights and the epsilon (1e-5)
            of a ResNet in PyTorch they compute what it does.

    Returns:
        keras.Model: as build_unet's, with a `size_multiple` of 32.

    Raises:
        SegframeError: a setting is out of its range; the file is not there or does not fit.
    """
    settings = DecoderSettings(
        num_classes=num_classes, filters=filters, upsample=upsample, decoder_filters=decoder_filters,
        head=head, norm={"momentum": norm_momentum, "epsilon": norm_epsilon}, skip=skip,
        attention=attention, deep_supervision=deep_supervision,
    )  # fmt: skip
    check([choice("encoder", encoder, get_args(Name))])
    settings.check(levels=SIZE_MULTIPLE.bit_length() - 1)
    file = check_file(encoder_weights) if encoder_weights else None

    from segframe_unet.decoder import decode, with_heads

    make = partial(build_encoder, encoder, norm=settings.norm)
    down = with_weights(make, image_shape[-1], file) if file else make(image_shape[-1])
    *skips, x = down.outputs
    block = partial(double_conv, norm=settings.norm, skip=skip)
    levels = decode(x, [None, *skips], block, settings)
    return with_heads(down.input, levels, settings, size_multiple=SIZE_MULTIPLE)
