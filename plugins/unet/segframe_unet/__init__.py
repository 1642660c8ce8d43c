"""U-Net (Ronneberger et al., 2015, https://arxiv.org/abs/1505.04597), and the operations it is made of.

unet.py is the network, upsample.py and transposed_conv.py are its ways up. Keras loads a .keras file that
holds their layers after `import segframe_unet.upsample`.
"""

from segframe import hookimpl
from segframe_unet.unet import build_unet


@hookimpl
def segframe_models():
    return {"unet": build_unet}
