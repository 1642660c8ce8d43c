"""segframe: plugin-based experiments for image segmentation on TensorFlow.

A plugin needs three names from here: `hookimpl` to mark its hooks, `SegframeError` for faults that the
user can mend, and `IGNORED`, the class id of pixels that count nowhere.
"""

from segframe.dataset import IGNORED, Sample
from segframe.errors import SegframeError
from segframe.hooks import hookimpl

__version__ = "0.1.0"
__all__ = ["IGNORED", "Sample", "SegframeError", "hookimpl"]
