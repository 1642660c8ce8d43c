"""The environment of PyTorch's own process beside TensorFlow."""

from __future__ import annotations

import os


def torch_environment() -> dict[str, str]:
    """This process's, but with TORCH_LD_LIBRARY_PATH, where it is given, in place of LD_LIBRARY_PATH.

    CUDA libraries that TensorFlow is pointed to by LD_LIBRARY_PATH may be of another version than PyTorch's
    own, which then does not start.
    """
    own = os.environ.get("TORCH_LD_LIBRARY_PATH")
    return dict(os.environ) | ({} if own is None else {"LD_LIBRARY_PATH": own})
