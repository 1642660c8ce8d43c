"""What a level of the U-Net computes, and what such blocks are made of.

A block is called as block(parts, filters, *, norm, skip, name): `parts` are feature maps to be taken for
their concatenation, one or two; height and width stay, channels become `filters`.
"""

from __future__ import annotations


def double_conv(parts: list, filters: int, *, norm: dict[str, float], name: str, skip: str = "concat"):
    """(3x3 convolution, batch normalisation, ReLU) twice."""
    parts = join(parts, skip, name=name)
    for number in (1, 2):
        x = normalised_conv(parts, filters, norm=norm, name=f"{name}_conv{number}")
        parts = [relu(x, name=f"{name}_relu{number}")]
    return parts[0]


def join(parts: list, skip: str, *, name: str) -> list:
    """All in one map with skip="concat"; with "split" they stay, and convolutions take each by itself."""
    from segframe_unet.concat_layer import Concat

    return [Concat(name=f"{name}_concat")(parts)] if skip == "concat" and len(parts) > 1 else parts


def conv(parts: list, filters: int, *, name: str, kernel_size: int = 3, stride: int = 1):
    """Convolution without bias, He normal at first.

    With a stride, kernel_size // 2 zeros are put on every side, as by PyTorch; so a stride of 2 lies
    where the transposed convolution does. (TensorFlow's "same" starts one pixel later.)
    """
    from keras import layers

    from segframe_unet.parts_conv_layer import PartsConv2D

    if kernel_size == 1 and stride > 1:
        # The same pixels. A strided 1x1 convolution made compiled training steps write outside their
        # memory on a CPU (TensorFlow 2.21 with oneDNN; not with TF_ENABLE_ONEDNN_OPTS=0).
        parts = [layers.MaxPooling2D(1, strides=stride, name=f"{name}_pick")(part) for part in parts]
        stride = 1
    pad = kernel_size // 2 if stride > 1 else 0
    if pad:
        parts = [layers.ZeroPadding2D(pad, name=f"{name}_pad")(part) for part in parts]
    return PartsConv2D(
        filters,
        kernel_size,
        strides=stride,
        padding="valid" if pad else "same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
    )(parts)


def normalised_conv(
    parts: list, filters: int, *, norm: dict[str, float], name: str, kernel_size: int = 3, stride: int = 1
):
    """conv and batch normalisation."""
    x = conv(parts, filters, kernel_size=kernel_size, stride=stride, name=name)
    return normalised(x, norm, name=f"{name}_norm")


def normalised(x, norm: dict[str, float], *, name: str):
    from segframe_unet.norm_layer import BatchNormalization

    return BatchNormalization(**norm, name=name)(x)


def relu(x, *, name: str):
    from segframe_unet.relu_layer import ReLU

    return ReLU(name=name)(x)
