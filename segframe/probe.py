"""What a builder itself finds wrong with its values, before TensorFlow is imported and a run is begun."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Any

import pluggy

from segframe.catalog import build

HEAVY = ("tensorflow", "keras")


class _Reached(BaseException):
    """A builder is through with its checks. Not an Exception: no builder should catch it by accident."""


class _Guard(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> None:
        if name.partition(".")[0] in HEAVY:
            raise _Reached


def probe(
    plugins: pluggy.PluginManager, kind: str, section: Mapping[str, Any], where: str, **facts: Any
) -> None:
    """Call a builder up to its first import of TensorFlow or Keras.

    Builders check their values' ranges first (segframe/hooks.py), so this finds `model.depth=-1` in
    milliseconds. Where TensorFlow is there already, the check is left to the building itself.

    Raises:
        SegframeError: what the builder finds wrong.
    """
    if any(name in sys.modules for name in HEAVY):
        return
    with _guarded():
        try:
            build(plugins, kind, section, where, **facts)
        except _Reached:
            return


@contextmanager
def _guarded() -> Iterator[None]:
    guard = _Guard()
    sys.meta_path.insert(0, guard)
    try:
        yield
    finally:
        sys.meta_path.remove(guard)
