"""The network's own layers: `import segframe_unet.layers`, and Keras loads a .keras file that holds them."""

from segframe_unet.concat_layer import Concat
from segframe_unet.conv_layer import Conv2D
from segframe_unet.norm_layer import BatchNormalization
from segframe_unet.parts_conv_layer import PartsConv2D
from segframe_unet.relu_layer import ReLU
from segframe_unet.subpixel import DepthToSpace2D
from segframe_unet.transposed_conv_layer import TransposedConv2D
from segframe_unet.upsample import BilinearUpsampling2D

__all__ = [
    "BatchNormalization",
    "BilinearUpsampling2D",
    "Concat",
    "Conv2D",
    "DepthToSpace2D",
    "PartsConv2D",
    "ReLU",
    "TransposedConv2D",
]
