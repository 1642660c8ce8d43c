"""The U-ResNet: a U-Net whose levels compute a residual block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from segframe_unet.unet import assemble, normalised_conv

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
) -> keras.Model:
    """The U-Net with residual_block in place of its two convolutions.

    Arguments, result and errors are segframe_unet.unet.build_unet's.

    Source:
        He et al., Deep Residual Learning, 2016, https://arxiv.org/abs/1512.03385, for the block: ReLU after
        the addition, projection (their option B) where the number of channels changes.
    """
    return assemble(
        residual_block, image_shape=image_shape, num_classes=num_classes, depth=depth, filters=filters,
        dropout=dropout, upsample=upsample, decoder_filters=decoder_filters, head=head,
        norm={"momentum": norm_momentum, "epsilon": norm_epsilon}, skip=skip,
    )  # fmt: skip


def residual_block(parts: list, filters: int, *, norm: dict[str, float], name: str):
    """relu(x + f(x)), f = 3x3 convolution, batch normalisation, ReLU, 3x3 convolution, batch normalisation.

    Where the channels change, x passes through a 1x1 convolution and a batch normalisation first.
    """
    from keras import layers

    shortcut = parts[0]
    if len(parts) > 1 or shortcut.shape[-1] != filters:
        shortcut = normalised_conv(parts, filters, norm=norm, name=f"{name}_shortcut", kernel_size=1)
    x = normalised_conv(parts, filters, norm=norm, name=f"{name}_conv1")
    x = layers.ReLU(name=f"{name}_relu1")(x)
    x = normalised_conv([x], filters, norm=norm, name=f"{name}_conv2")
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.ReLU(name=f"{name}_relu2")(x)
