"""Encoders of classification networks, for the U-Net's decoder: image -> feature maps at five sizes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import keras

Name = Literal[
    "resnet18",
    "resnet34",
    "resnet50",
    "ResNet50V2",
    "MobileNetV2",
    "EfficientNetV2B0",
    "EfficientNetV2S",
    "DenseNet121",
]

RESNETS = {
    "resnet18": ("basic", (2, 2, 2, 2)),
    "resnet34": ("basic", (3, 4, 6, 3)),
    "resnet50": ("bottleneck", (3, 4, 6, 3)),
}
"""Kind of block, and how many there are at each size (He et al., 2016, table 1)."""

APPLICATIONS = {
    "ResNet50V2": ("conv1_conv", "conv2_block3_preact_relu", "conv3_block4_preact_relu",
                   "conv4_block6_preact_relu", "post_relu"),
    "MobileNetV2": ("block_1_expand_relu", "block_3_expand_relu", "block_6_expand_relu",
                    "block_13_expand_relu", "out_relu"),
    "EfficientNetV2B0": ("block1a_project_activation", "block2b_add", "block4a_expand_activation",
                         "block6a_expand_activation", "top_activation"),
    "EfficientNetV2S": ("block1b_add", "block2d_add", "block4a_expand_activation",
                        "block6a_expand_activation", "top_activation"),
    "DenseNet121": ("conv1_relu", "pool2_relu", "pool3_relu", "pool4_relu", "relu"),
}  # fmt: skip
"""Of keras.applications: the last layer at 1/2, 1/4, 1/8, 1/16 and 1/32 of the image's size."""

SIZE_MULTIPLE = 32


def build_encoder(name: Name, channels: int, norm: dict[str, float]) -> keras.Model:
    """The network without its classifier, with random weights.

    Args:
        channels: of the image.
        norm: the batch normalisations' momentum and epsilon. Those of keras.applications keep the epsilon
            that they were published with.

    Returns:
        keras.Model: (batch, height, width, channels) -> five feature maps, at 1/2, 1/4, 1/8, 1/16 and 1/32 of
        the size.
    """
    import keras

    image = keras.Input((None, None, channels), name="image")
    if name in RESNETS:
        return keras.Model(image, resnet(image, *RESNETS[name], norm=norm), name=name)
    # Images arrive normalised; what would scale them again is switched off.
    off = {"include_preprocessing": False} if name.startswith("EfficientNetV2") else {}
    whole = getattr(keras.applications, name)(include_top=False, weights=None, input_tensor=image, **off)
    anew = partial(_by_ours, momentum=norm["momentum"])
    whole = keras.models.clone_model(whole, input_tensors=[image], clone_function=anew)
    return keras.Model(image, [whole.get_layer(each).output for each in APPLICATIONS[name]], name=name)


def _by_ours(layer: keras.layers.Layer, momentum: float) -> keras.layers.Layer:
    """The same layer anew, without weights: segframe_unet's where that has one, which is Keras's, faster."""
    import keras

    from segframe_unet.conv_layer import Conv2D
    from segframe_unet.norm_layer import BatchNormalization

    config = layer.get_config()
    if type(layer) is keras.layers.Conv2D:
        return Conv2D.from_config(config)
    if isinstance(layer, keras.layers.BatchNormalization):
        return BatchNormalization.from_config(config | {"momentum": momentum})
    return layer.__class__.from_config(config)


def resnet(
    image: keras.KerasTensor,
    kind: Literal["basic", "bottleneck"],
    counts: tuple[int, ...],
    *,
    norm: dict[str, float],
    filters: int = 64,
) -> list[keras.KerasTensor]:
    """ResNet with post-activation: 7x7 convolution of stride 2, 3x3 max pooling of stride 2, residual blocks.

    The first block of each further size strides, a bottleneck in its 3x3 convolution (v1.5). Padding is
    symmetric, as PyTorch's.

    Args:
        counts: blocks at each size.
        filters: channels of the first convolution.

    Source:
        He et al., Deep Residual Learning, 2016, https://arxiv.org/abs/1512.03385.
    """
    from keras import layers

    from segframe_unet.blocks import normalised_conv, relu
    from segframe_uresnet.residual import EXPANSION, residual_block

    x = normalised_conv([image], filters, norm=norm, kernel_size=7, stride=2, name="encoder_stem")
    x = relu(x, name="encoder_stem_relu")
    features = [x]
    x = layers.ZeroPadding2D(1, name="encoder_pool_pad")(x)  # after a ReLU no pixel is below 0
    x = layers.MaxPooling2D(3, strides=2, name="encoder_pool")(x)
    width = filters * (EXPANSION if kind == "bottleneck" else 1)
    for stage, count in enumerate(counts):
        for number in range(count):
            x = residual_block(
                [x],
                width * 2**stage,
                norm=norm,
                kind=kind,
                stride=2 if stage and not number else 1,
                name=f"encoder{stage + 1}_block{number}",
            )
        features.append(x)
    return features
