"""Memory that ran out, as Python and TensorFlow say it."""

from __future__ import annotations

LESS_MEMORY = "a smaller train.batch_size, model.filters or dataset.size needs less"


def out_of_memory(error: BaseException) -> str | None:
    """What to tell of an error that means that memory ran out, or None for another error.

    TensorFlow raises ResourceExhaustedError where its own allocator fails, and InternalError where other
    programs fill the GPU: "cudaSetDevice() on GPU:0 failed. Status: out of memory".
    """
    kind, said = type(error).__name__, str(error).strip().split("\n")[0]
    if kind in ("MemoryError", "ResourceExhaustedError"):
        return f"out of memory: {LESS_MEMORY} ({kind}: {said})"
    if kind == "InternalError" and "out of memory" in said.lower():
        return f"out of memory: {LESS_MEMORY}; nvidia-smi shows what else is on the GPU ({kind}: {said})"
    return None
