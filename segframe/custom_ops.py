"""Where a layer may use operations that TensorFlow itself does not have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_allowed: ContextVar[bool] = ContextVar("custom_ops_allowed", default=False)
_told: ContextVar[dict[str, str] | None] = ContextVar("told_operations", default=None)


def custom_ops_allowed() -> bool:
    """Whether the graph that is traced now may hold operations that a plugin has compiled.

    Only in a run's own steps, and there not under XLA: XLA has no kernel for them, and a saved model that
    held them could not be loaded where they are not built. A layer asks each time it is called, and
    otherwise keeps to TensorFlow's operations, with equal results; where those differ in their last bits it
    says which it takes (tell_operation).
    """
    return _allowed.get()


def tell_operation(name: str, how: str) -> None:
    """Keep with the run by which of several implementations an operation is computed here.

    For those whose last bits differ: a run that goes on, or is repeated, by another one says so. To be called
    when a layer is built.

    Args:
        name: "convolution", say.
        how: "compiled", say.
    """
    told = _told.get()
    if told is not None:
        told[name] = how


@contextmanager
def custom_ops(allowed: bool) -> Iterator[dict[str, str]]:
    """What custom_ops_allowed() answers meanwhile; yields what is told of operations, by their names."""
    operations: dict[str, str] = {}
    tokens = _allowed.set(allowed), _told.set(operations)
    try:
        yield operations
    finally:
        _allowed.reset(tokens[0])
        _told.reset(tokens[1])
