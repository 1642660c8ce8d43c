"""Where a layer may use operations that TensorFlow itself does not have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_allowed: ContextVar[bool] = ContextVar("custom_ops_allowed", default=False)


def custom_ops_allowed() -> bool:
    """Whether the graph that is traced now may hold operations that a plugin has compiled.

    Only in a run's own steps, and there not under XLA: XLA has no kernel for them, and a saved model that
    held them could not be loaded where they are not built. A layer asks each time it is called, and
    otherwise keeps to TensorFlow's operations, with equal results.
    """
    return _allowed.get()


@contextmanager
def custom_ops(allowed: bool) -> Iterator[None]:
    """What custom_ops_allowed() answers meanwhile."""
    token = _allowed.set(allowed)
    try:
        yield
    finally:
        _allowed.reset(token)
