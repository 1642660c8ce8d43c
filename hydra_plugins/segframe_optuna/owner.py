"""Which process a trial belongs to, for a study that several work on."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any

import psutil


def this_process() -> dict[str, Any]:
    """Host, pid, and when it began: pids are used again."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": psutil.Process().create_time()}


def alive(owner: Mapping[str, Any] | None) -> bool:
    """Whether the process may still run its trial; of other machines nobody here knows."""
    if owner is None:
        return False
    if owner["host"] != socket.gethostname():
        return True
    try:
        return abs(psutil.Process(owner["pid"]).create_time() - owner["started"]) < 1
    except psutil.NoSuchProcess:
        return False
