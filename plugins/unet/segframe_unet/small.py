"""The smallest U-Net that has all its parts: the example of the MagmaDNN project's slides, for 4x4 images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from segframe import SegframeError

if TYPE_CHECKING:
    import keras


def build_small(
    *,
    image_shape: tuple[int, int, int],
    num_classes: int,
    head: Literal["softmax", "sigmoid"] = "softmax",
    relu_before_sigmoid: bool = False,
) -> keras.Model:
    """Eight convolutions without bias and without normalisation, one pooling, one skip.

        3x3 1 -> 1, ReLU;  3x3 1 -> 1, ReLU (the skip);  2x2 max pooling;  3x3 1 -> 2, ReLU;
        transposed 3x3 2 -> 2;  3x3 2 -> 1;  concat with the skip;  3x3 2 -> 1, ReLU;  3x3 1 -> 1, ReLU;  head

    The slides print 135 weights and a sigmoid. A head of one map has 9 weights, 126 in all; one of two class
    maps has 18, 135 in all: so that is the default, and "sigmoid" is the other one. A softmax of two maps is
    the sigmoid of their difference.

    Args:
        image_shape: (height, width, channels); each further channel adds 9 weights.
        num_classes: ids in a mask.
        head: "softmax" gives num_classes logits; "sigmoid" one, for binary masks.
        relu_before_sigmoid: the slides' ReLU on the logits. Off: where it is 0 no gradient comes back.

    Returns:
        keras.Model: (batch, height, width, channels) float32 -> logits (batch, height, width, num_classes or
        1) float32, for any even height and width.

    Raises:
        SegframeError: one logit for more than two classes.
    """
    if head == "sigmoid" and num_classes != 2:
        raise SegframeError(
            "model.head",
            expected=f"softmax for {num_classes} classes",
            got=repr(head),
            remedy="Give model.head=softmax.",
        )

    import keras
    from keras import layers

    from segframe_unet.concat_layer import Concat
    from segframe_unet.transposed_conv_layer import TransposedConv2D

    def conv(x, filters: int, name: str, **options):
        return layers.Conv2D(filters, 3, padding="same", use_bias=False, name=name, **options)(x)

    def relu(x, name: str, **options):
        return layers.ReLU(name=f"{name}_relu", **options)(x)

    image = keras.Input((None, None, image_shape[-1]), name="image")
    x = relu(conv(image, 1, "encoder0_conv1"), "encoder0_conv1")
    skip = relu(conv(x, 1, "encoder0_conv2"), "encoder0_conv2")
    x = layers.MaxPooling2D(name="encoder0_pool")(skip)
    x = relu(conv(x, 2, "encoder1_conv"), "encoder1_conv")
    x = TransposedConv2D(2, name="decoder0_up")(x)
    x = conv(x, 1, "decoder0_halve")
    x = Concat(name="decoder0_concat")([x, skip])
    x = relu(conv(x, 1, "decoder0_conv1"), "decoder0_conv1")
    x = relu(conv(x, 1, "decoder0_conv2"), "decoder0_conv2")
    logits = conv(x, 1 if head == "sigmoid" else num_classes, "logits", dtype="float32")
    if relu_before_sigmoid:
        logits = relu(logits, "logits", dtype="float32")
    model = keras.Model(image, logits)
    model.size_multiple = 2
    return model
