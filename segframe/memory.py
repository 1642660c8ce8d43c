"""How much memory a process may still take."""

from __future__ import annotations

from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def available_memory() -> int:
    """Bytes that can be taken without swapping, as far as machine and container allow."""
    import psutil

    free = int(psutil.virtual_memory().available)
    try:  # a container's bound, which psutil does not know
        bound = (CGROUP / "memory.max").read_text().strip()
        if bound != "max":
            used = int((CGROUP / "memory.current").read_text())
            cached = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
            free = min(free, int(bound) - used + int(cached["file"]))
    except (OSError, ValueError, KeyError):
        pass  # no container, or one of an older kind
    return max(free, 0)
