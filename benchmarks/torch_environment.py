"""The environment of PyTorch's own process beside TensorFlow."""

from __future__ import annotations

import os


def torch_environment() -> dict[str, str]:
    """This process's, with TORCH_LD_LIBRARY_PATH and TORCH_PYTHONPATH, where given, for those without TORCH_.

    CUDA libraries that TensorFlow is pointed to may be of other versions than PyTorch's own, which then does
    not start: it looks for them along both paths, below nvidia/ on the second.
    """
    names = ("LD_LIBRARY_PATH", "PYTHONPATH")
    return dict(os.environ) | {
        name: os.environ[f"TORCH_{name}"] for name in names if f"TORCH_{name}" in os.environ
    }
