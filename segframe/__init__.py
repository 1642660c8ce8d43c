"""segframe: plugin-based experiments for image segmentation on TensorFlow.

What plugins need is here: `hookimpl` marks their hooks, `SegframeError` is for faults that the user can
mend, `IGNORED` is the class id of pixels that count nowhere, `Sample` is an image with its mask,
`only_valid` (which imports TensorFlow, once it is asked for) takes ignored pixels out of a loss,
`check_class_weights` and `make_class_weights` turn a loss's `class_weights`, a `ClassWeights`, into numbers,
`cache_folder` is where files lie that can be made again, `custom_ops_allowed` tells a layer whether
operations of its own may stand in the graph, `tell_operation` keeps with a run which of several
implementations it took, and `import_tensorflow` does so without its greeting.

`load_model(RUN)` is for whoever uses what a run has trained: raw images to logits and class ids.
"""

from __future__ import annotations

from typing import Any

from segframe.cache import cache_folder
from segframe.class_weights import ClassPixels, ClassWeights, check_class_weights, make_class_weights
from segframe.custom_ops import custom_ops_allowed, tell_operation
from segframe.dataset import IGNORED, Sample
from segframe.errors import SegframeError
from segframe.hooks import hookimpl
from segframe.load_model import load_model
from segframe.quiet import import_tensorflow

__version__ = "0.1.0"
__all__ = [
    "IGNORED",
    "ClassPixels",
    "ClassWeights",
    "Sample",
    "SegframeError",
    "cache_folder",
    "check_class_weights",
    "custom_ops_allowed",
    "hookimpl",
    "import_tensorflow",
    "load_model",
    "make_class_weights",
    "only_valid",
    "tell_operation",
]


def __getattr__(name: str) -> Any:
    if name == "only_valid":
        from segframe.valid import only_valid

        return only_valid
    raise AttributeError(f"module 'segframe' has no attribute {name!r}")
