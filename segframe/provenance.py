"""What ran, on what: versions, git commit and changes, machine."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from segframe.hiding import hide
from segframe.manager import Plugins

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
        "cores": psutil.cpu_count(logical=False),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": names,
        "command": [hide(word) for word in (Path(sys.argv[0]).name, *sys.argv[1:])],
    }


def git(folder: Path) -> tuple[str | None, str]:
    """(commit, uncommitted changes) of the repository that `folder` lies in; (None, "") outside of one."""
    try:
        commit = _git(folder, "rev-parse", "HEAD").strip()
        return commit, hide(_git(folder, "diff", "HEAD"))
    except (OSError, subprocess.SubprocessError):
        return None, ""


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=10,
        check=True,
    )
    return done.stdout
