"""Memory that ran out, as Python and TensorFlow say it."""

from __future__ import annotations

LESS_MEMORY = "a smaller train.batch_size, model.filters or dataset.size needs less"
SIGNS = ("out of memory", "oom when allocating", "failed to allocate")


def out_of_memory(error: BaseException) -> str | None:
    """What to tell of an error that means that memory ran out, in a line, or None for another error.

    TensorFlow raises ResourceExhaustedError where its own allocator fails, for full disks too, and
    InternalError where other programs fill the GPU: "cudaSetDevice() on GPU:0 failed. Status: out of memory".
    Of an error in a graph the first line says nothing but that it was one.
    """
    kind = type(error).__name__
    if isinstance(error, MemoryError):
        return f"out of memory ({kind}: {error})" if str(error) else f"out of memory ({kind})"
    if kind not in ("ResourceExhaustedError", "InternalError"):
        return None
    for line in str(error).splitlines():
        if any(sign in line.lower() for sign in SIGNS):
            return f"out of memory ({kind}: {line.strip()})"
    return None


def told_of_a_run(error: BaseException) -> str:
    """What the error of a run says, and what helps where memory ran out."""
    memory = out_of_memory(error)
    return f"{memory}: {LESS_MEMORY}" if memory else f"{type(error).__name__}: {str(error).strip()}"
