"""An HDF5 file opened for reading, or why it cannot be; what lies in it, links out of it refused."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from segframe.errors import SegframeError, nearest

BROKEN = (OSError, RuntimeError, LookupError, ValueError, TypeError, MemoryError, OverflowError, zlib.error)
"""What h5py makes of a file whose bytes were changed: HDF5's own errors come as any of these."""


Fault = Callable[[SegframeError], None]
"""Told of each fault: raises it, or keeps it so that the next can be found too."""


def open_file(path: Path) -> Any:
    """h5py.File of `path`, read only.

    Raises:
        SegframeError: there is no such file, it is a folder, not HDF5, cut off, or being written.
    """
    import h5py

    subject = f"data file {path}"
    if path.is_dir():
        raise SegframeError(
            subject,
            expected="an HDF5 file",
            got="a folder",
            remedy="Make a file of folders of images: python -m segframe data import IMAGES MASKS OUT.h5",
        )
    if not path.exists():
        folder = path.parent
        others = [file.name for file in folder.glob("*.h5")] if folder.is_dir() else []
        raise SegframeError(
            subject,
            expected="an HDF5 file",
            got="no file of that name" if folder.is_dir() else f"no folder {folder}",
            remedy=f"In {folder.resolve()}: {nearest(path.name, others)}",
        )
    if not path.is_file():  # h5py waits for ever for what a pipe may say
        remedy = "Copy what it gives into a file first."
        raise SegframeError(subject, expected="an HDF5 file", got="a pipe or a device", remedy=remedy)
    try:
        return h5py.File(path, "r")
    except BROKEN as error:
        got, remedy = _why(path, str(error))
        raise SegframeError(subject, expected="a whole HDF5 file", got=got, remedy=remedy) from error


def _why(path: Path, message: str) -> tuple[str, str]:
    """What is wrong with a file that h5py cannot open, and what to do."""
    if "unable to lock file" in message or "already open for write" in message:
        remedy = "Wait until its writer is done. If the writer died, write the file again"
        return "a file that is being written by another program", f"{remedy} (or: h5clear -s {path})."
    if "truncated" in message:
        return "a file that ends too early", "Copy or write it again; compare the sizes."
    if not os.access(path, os.R_OK):
        return "a file that may not be read", "Give yourself permission to read it."
    if "signature not found" in message:
        size = path.stat().st_size
        return (
            f"a file of {size} bytes in another format" if size else "an empty file",
            "Make one of folders of images: python -m segframe data import IMAGES MASKS OUT.h5",
        )
    return f"a file that cannot be opened ({message})", "Copy or write it again."


@contextmanager
def understood(where: str) -> Iterator[None]:
    """What HDF5 cannot make sense of meanwhile is a SegframeError of `where`."""
    try:
        yield
    except BROKEN as error:
        raise damaged(where, error) from error


def damaged(where: str, error: BaseException, expected: str = "values that can be read") -> SegframeError:
    """The fault of bytes that are not what a writer wrote."""
    got = (str(error) or type(error).__name__).splitlines()[0]
    return SegframeError(
        where,
        expected=expected,
        got=got,
        remedy="The file is damaged: copy or write it again.",
    )


def names_in(group: Any, where: str) -> list[str]:
    """Names of a group's members, in its order.

    Raises:
        SegframeError: one is no text.
    """
    names = list(group)
    odd = [name for name in names if not isinstance(name, str)]
    if odd:
        remedy = "Write the file again, names in UTF-8."
        raise SegframeError(where, expected="names that are text", got=repr(odd[0]), remedy=remedy)
    return names


def member(group: Any, name: str, where: str) -> Any:
    """`group[name]`, or None where there is none.

    Raises:
        SegframeError: it is a link, or its values lie in another file: what is hashed must be what is read.
    """
    import h5py

    # Not `name in group`: that opens what a link points to, in whatever file it lies.
    if not group.id.links.exists(name.encode()):
        return None
    link = group.get(name, getlink=True)
    kind = None if isinstance(link, h5py.HardLink) else f"a {type(link).__name__} to {link.path!r}"
    found = group[name] if kind is None else None
    if isinstance(found, h5py.Dataset) and (found.is_virtual or found.external):
        kind = "a data set whose values lie in other files"
    if kind:
        raise SegframeError(
            where,
            expected="values in the file itself",
            got=kind,
            remedy="Copy them into one file: h5py's copy(..., expand_soft=True, expand_external=True).",
        )
    return found


def layout_error(where: str, expected: str, got: str) -> SegframeError:
    """The fault of something that is not in the layout, and that no command mends."""
    return SegframeError(
        where, expected=expected, got=got, remedy="The layout is in segframe/plugins/hdf5.py; write it so."
    )
