"""Files that are there whole or not at all, whenever the process dies."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from segframe.errors import SegframeError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; on success it is synced and takes `path`'s place.

    Two processes may do it at once: the last one wins, with a whole file. The ending is kept, since some
    writers choose the format by it.
    """
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def writable(subject: str, remedy: str) -> Iterator[None]:
    """What is written within; raises SegframeError: the system refuses (disk full, no such folder, ...)."""
    try:
        yield
    except OSError as error:
        raise SegframeError(subject, expected="a place to write", got=str(error), remedy=remedy) from error


def sync_folder(folder: Path) -> None:
    """Make renames in the folder last through a power cut, where the system can."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a whole text file, UTF-8."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a whole JSON file, keys in the order given."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")
