"""The U-Net: its settings, its shape, and the block that each level computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from segframe import SegframeError

if TYPE_CHECKING:
    import keras

CHOICES = {
    "upsample": ("transpose", "bilinear", "nearest", "subpixel"),
    "decoder_filters": ("double", "same"),
    "head": ("softmax", "sigmoid"),
    "skip": ("concat", "split"),
}


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

    Returns:
        keras.Model: (batch, height, width, channels) float32 -> logits (batch, height, width, num_classes or
        1) float32, for any height and width that are multiples of its `size_multiple`, 2**depth.

    Raises:
        SegframeError: a setting is out of its range.

    Source:
        Ronneberger et al., 2015, https://arxiv.org/abs/1505.04597, with the batch normalisation, the
        transposed convolution and the decoder of the MagmaDNN project's drawing.
    """
    return assemble(
        double_conv, image_shape=image_shape, num_classes=num_classes, depth=depth, filters=filters,
        dropout=dropout, upsample=upsample, decoder_filters=decoder_filters, head=head,
        norm={"momentum": norm_momentum, "epsilon": norm_epsilon}, skip=skip,
    )  # fmt: skip


def assemble(
    block: Callable[..., keras.KerasTensor],
    *,
    image_shape: tuple[int, int, int],
    num_classes: int,
    depth: int | Literal["auto"],
    filters: int,
    dropout: float,
    upsample: str,
    decoder_filters: str,
    head: str,
    norm: dict[str, float],
    skip: str,
) -> keras.Model:
    """The U-shape around `block(parts, filters, *, norm, name)`, what a level computes: height and width
    stay, channels become `filters`. `parts` are feature maps to be taken for their concatenation, one or
    two. Settings, result and errors are build_unet's."""
    _check(num_classes, depth, filters, dropout, upsample, decoder_filters, head, norm, skip)
    if depth == "auto":
        depth = auto_depth(image_shape)

    import keras
    from keras import layers

    from segframe_unet.concat_layer import Concat
    from segframe_unet.upsample import upsample_double

    image = x = keras.Input((None, None, image_shape[-1]), name="image")
    skips = []
    for level in range(depth + 1):
        name = f"encoder{level}"
        x = block([x], filters * 2**level, norm=norm, name=name)
        if dropout > 0:
            x = layers.Dropout(dropout, name=f"{name}_dropout")(x)
        if level < depth:
            skips.append(x)
            x = layers.MaxPooling2D(name=f"{name}_pool")(x)
    for level in reversed(range(depth)):
        name, width = f"decoder{level}", filters * 2**level
        if decoder_filters == "double":
            x = upsample_double(x, 2 * width, upsample, name=f"{name}_up")
            x = layers.Conv2D(width, 3, padding="same", name=f"{name}_halve")(x)
        else:
            x = upsample_double(x, width, upsample, name=f"{name}_up")
        parts = [x, skips[level]]
        if skip == "concat":
            parts = [Concat(name=f"{name}_concat")(parts)]
        x = block(parts, width, norm=norm, name=name)
    outputs = 1 if head == "sigmoid" else num_classes
    model = keras.Model(image, layers.Conv2D(outputs, 1, dtype="float32", name="logits")(x))
    model.size_multiple = 2**depth
    return model


def double_conv(parts: list, filters: int, *, norm: dict[str, float], name: str):
    """(3x3 convolution, batch normalisation, ReLU) twice."""
    from keras import layers

    for number in (1, 2):
        x = normalised_conv(parts, filters, norm=norm, name=f"{name}_conv{number}")
        x = layers.ReLU(name=f"{name}_relu{number}")(x)
        parts = [x]
    return x


def normalised_conv(parts: list, filters: int, *, norm: dict[str, float], name: str, kernel_size: int = 3):
    """Convolution without bias, He normal at first, and batch normalisation."""
    from keras import layers

    from segframe_unet.parts_conv_layer import PartsConv2D

    x = PartsConv2D(
        filters, kernel_size, padding="same", use_bias=False, kernel_initializer="he_normal", name=name
    )(parts)
    return layers.BatchNormalization(**norm, name=f"{name}_norm")(x)


def auto_depth(image_shape: tuple[int, int, int]) -> int:
    """floor(log2(min(height, width) / 8)), at least 1 and at most 4."""
    return min(max((min(image_shape[:2]) // 8).bit_length() - 1, 1), 4)


def _check(num_classes, depth, filters, dropout, upsample, decoder_filters, head, norm, skip) -> None:
    settings = [
        # Ten poolings are a factor of 1,024; above that, memory goes long before a message comes.
        ("depth", depth, 'a number from 1 to 10 or "auto"', depth == "auto" or 1 <= depth <= 10, "4"),
        ("filters", filters, "a number from 1 to 4096", 1 <= filters <= 4096, "16"),
        ("dropout", dropout, "a share, 0 <= dropout < 1", 0 <= dropout < 1, "0.0"),
        (
            "head",
            head,
            f"softmax for {num_classes} classes",
            head != "sigmoid" or num_classes == 2,
            "softmax",
        ),
        ("norm_momentum", norm["momentum"], "a share between 0 and 1", 0 < norm["momentum"] < 1, "0.9"),
        ("norm_epsilon", norm["epsilon"], "a number above 0", norm["epsilon"] > 0, "0.001"),
    ]
    choices = {"upsample": upsample, "decoder_filters": decoder_filters, "head": head, "skip": skip}
    for key, value in choices.items():
        settings.append(
            (key, value, f"one of {', '.join(CHOICES[key])}", value in CHOICES[key], CHOICES[key][0])
        )
    for key, value, expected, right, good in settings:
        if not right:
            raise SegframeError(
                f"model.{key}", expected=expected, got=repr(value), remedy=f"Give model.{key}={good}, say."
            )
