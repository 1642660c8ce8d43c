"""U-Net (Ronneberger et al., 2015, https://arxiv.org/abs/1505.04597), and the operations it is made of.

unet.py is the network; upsample.py and transposed_conv.py are its ways up, concat.py joins them to the skips.
Keras loads a .keras file that holds their layers after `import segframe_unet.layers`.
"""

from segframe import hookimpl
from segframe_unet.ops_command import run as run_ops
from segframe_unet.small import build_small
from segframe_unet.unet import build_unet


@hookimpl
def segframe_commands():
    return {"ops": ("the compiled operations: what is in use, and `ops build`", run_ops)}


@hookimpl
def segframe_models():
    return {"unet": build_unet, "small": build_small}
