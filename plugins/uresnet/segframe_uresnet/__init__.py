"""Residual networks for segmentation (He et al., 2016, https://arxiv.org/abs/1512.03385).

uresnet.py is the U-Net with residual blocks; resnet_unet.py the U-Net's decoder on a ResNet or another
encoder.
"""

from segframe import hookimpl
from segframe_uresnet.resnet_unet import build_resnet_unet
from segframe_uresnet.uresnet import build_uresnet


@hookimpl
def segframe_models():
    return {"uresnet": build_uresnet, "resnet_unet": build_resnet_unet}
