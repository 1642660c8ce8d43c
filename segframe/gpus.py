"""The GPUs that a process of this environment may use, asked without TensorFlow."""

from __future__ import annotations

import os
import subprocess
from importlib.metadata import PackageNotFoundError, distribution
from typing import NamedTuple


class Gpu(NamedTuple):
    """One GPU."""

    name: str
    """What CUDA_VISIBLE_DEVICES takes."""
    model: str
    memory_mib: int


def visible_gpus() -> list[Gpu]:
    """NVIDIA GPUs, as far as CUDA_VISIBLE_DEVICES allows them; none with TensorFlow's CPU build."""
    if not _can_use_gpus():
        return []
    query = ["nvidia-smi", "--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    there = {}
    for line in said.splitlines():
        index, uuid, model, memory = (part.strip() for part in line.split(","))
        if memory.isdigit():
            there[index] = Gpu(uuid, model, int(memory))
    return _allowed(there, os.environ.get("CUDA_VISIBLE_DEVICES"))


def _allowed(there: dict[str, Gpu], visible: str | None) -> list[Gpu]:
    """Of the GPUs by index, those that the variable names, in its order, under the names it uses."""
    if visible is None:
        return list(there.values())
    found = []
    for name in (part.strip() for part in visible.split(",")):
        gpu = there.get(name) or next(
            (gpu for gpu in there.values() if name and gpu.name.startswith(name)), None
        )
        if gpu is None:
            break  # CUDA too sees nothing from the first wrong name on
        found.append(gpu._replace(name=name))
    return found


def _can_use_gpus() -> bool:
    try:
        distribution("tensorflow")
    except PackageNotFoundError:
        return False
    return True
