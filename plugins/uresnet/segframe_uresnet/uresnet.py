"""The U-ResNet: a U-Net whose levels compute a residual block."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from segframe_unet.settings import DecoderSettings, check, check_encoder, choice
from segframe_uresnet.residual import EXPANSION, activate, preactivation_block, residual_block

if TYPE_CHECKING:
    import keras


def build_uresnet(
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
    block: Literal["basic", "bottleneck"] = "basic",
    activation_order: Literal["post", "pre"] = "post",
    downsample: Literal["pool", "stride"] = "pool",
) -> keras.Model:
    """The U-Net with a residual block in place of its two convolutions, on the way down and on the way up.

    Other arguments, result and errors are segframe_unet.unet.build_unet's.

    Args:
        block: "basic" is two 3x3 convolutions; "bottleneck" 1x1, 3x3 and 1x1, the inner ones with a quarter
            of the level's channels, so that `filters` must be a multiple of 4.
        activation_order: "post" has the ReLU after the addition (residual.residual_block). "pre" has batch
            normalisation and ReLU before each convolution and nothing after the addition
            (residual.preactivation_block). As in its paper, a 3x3 convolution, activated, then precedes the
            first block, and a batch normalisation and ReLU each head.
        downsample: "pool" is 2x2 max pooling before a level's block; "stride" the stride of its first 3x3
            convolution and of its projection.

    Source:
        He et al., Deep Residual Learning, 2016, https://arxiv.org/abs/1512.03385, for "post"; He et al.,
        Identity Mappings in Deep Residual Networks, 2016, https://arxiv.org/abs/1603.05027, for "pre". Zhang
        et al., Road Extraction by Deep Residual U-Net, 2018, https://arxiv.org/abs/1711.10684, is close to
        "pre" with "stride".
    """
    settings = DecoderSettings(
        num_classes=num_classes, filters=filters, upsample=upsample, decoder_filters=decoder_filters,
        head=head, norm={"momentum": norm_momentum, "epsilon": norm_epsilon}, skip=skip,
        attention=attention, deep_supervision=deep_supervision,
    )  # fmt: skip
    depth = check_encoder(depth, dropout, image_shape)
    settings.check(levels=depth)
    multiple = f"a multiple of {EXPANSION} for bottlenecks"
    check(
        [
            choice("block", block, ("basic", "bottleneck")),
            choice("activation_order", activation_order, ("post", "pre")),
            choice("downsample", downsample, ("pool", "stride")),
            ("filters", filters, multiple, block == "basic" or filters % EXPANSION == 0, "16"),
        ]
    )

    import keras

    from segframe_unet.blocks import conv
    from segframe_unet.decoder import decode, with_heads
    from segframe_unet.encoder import encode

    norm = settings.norm
    image = x = keras.Input((None, None, image_shape[-1]), name="image")
    if activation_order == "post":
        unit = first = partial(residual_block, kind=block, norm=norm, skip=skip)
        before_heads = None
    else:
        unit = partial(preactivation_block, kind=block, norm=norm, skip=skip)
        first, before_heads = partial(unit, activated=True), partial(activate, norm=norm)
        x = activate(conv([x], filters, name="stem"), norm, name="stem")
    *skips, x = encode(
        x, unit, depth=depth, filters=filters, dropout=dropout, downsample=downsample, first=first
    )
    levels = decode(x, skips, unit, settings)
    return with_heads(image, levels, settings, size_multiple=2**depth, activate=before_heads)
