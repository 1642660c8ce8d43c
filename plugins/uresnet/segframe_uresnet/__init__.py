"""U-ResNet: the U-Net with residual blocks (He et al., 2016, https://arxiv.org/abs/1512.03385)."""

from segframe import hookimpl
from segframe_uresnet.uresnet import build_uresnet


@hookimpl
def segframe_models():
    return {"uresnet": build_uresnet}
