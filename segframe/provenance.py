"""What ran, on what: versions, git commit and changes, machine."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from segframe.hiding import hide
from segframe.manager import Plugins

ENVIRONMENT = (
    "TF_ENABLE_ONEDNN_OPTS", "ONEDNN_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE", "TF_XLA_FLAGS", "XLA_FLAGS",
    "TF_CUDNN_DETERMINISTIC", "TF_CUDNN_USE_AUTOTUNE", "NVIDIA_TF32_OVERRIDE", "OMP_NUM_THREADS",
    "SEGFRAME_OPS",
)  # fmt: skip
"""Variables that choose other kernels, and so other last bits. Named one by one: others may hold secrets."""
MOST_UNTRACKED, LARGEST_UNTRACKED = 50, 200_000

LIBRARIES = ("segframe", "tensorflow", "tensorflow-cpu", "keras", "numpy", "h5py", "hydra-core", "mlflow")


def versions(plugins: Plugins) -> dict[str, str]:
    """{name: version} of Python, the libraries that matter to a result, and each plugin's distribution."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found | {f"plugin {name}": text for name, text in plugins.distributions.items()}


def machine() -> dict[str, Any]:
    """Processor, system and devices; imports TensorFlow."""
    import psutil
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
    return {
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cpu": _cpu(),
        "cores": psutil.cpu_count(logical=False),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": names,
        "command": [hide(word) for word in (Path(sys.argv[0]).name, *sys.argv[1:])],
    }


def environment() -> dict[str, str]:
    """Those of ENVIRONMENT that are set."""
    return {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}


def _cpu() -> str:
    """The processor's model, which chooses kernels; "" where the system does not tell."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else ""


def git(folder: Path) -> tuple[str | None, str]:
    """(commit, uncommitted changes) of the repository that `folder` lies in; (None, "") outside of one.

    Python files that git does not know yet are among the changes, so that `git apply` brings them too.
    """
    try:
        commit = _git(folder, "rev-parse", "HEAD").strip()
        root = Path(_git(folder, "rev-parse", "--show-toplevel").strip())
        return commit, hide(_git(folder, "diff", "HEAD") + _untracked(root))
    except (OSError, subprocess.SubprocessError):
        return None, ""


def _untracked(root: Path) -> str:
    """Small Python files that are neither tracked nor ignored, as a diff from nothing."""
    names = _git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", "*.py").split("\0")
    files = [name for name in names if name and (root / name).stat().st_size <= LARGEST_UNTRACKED]
    diffs = [
        _git(root, "diff", "--no-index", "--", "/dev/null", name, allowed=(0, 1))
        for name in files[:MOST_UNTRACKED]
    ]
    left = len([name for name in names if name]) - len(diffs)
    return "".join(diffs) + (f"# {left} more untracked Python files\n" if left else "")


def _git(folder: Path, *arguments: str, allowed: Sequence[int] = (0,)) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=10,
    )
    if done.returncode not in allowed:
        raise subprocess.SubprocessError(done.stderr)
    return done.stdout
