"""An HDF5 file opened for reading, or why it cannot be; what lies in it, links out of it refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from segframe.errors import SegframeError, nearest


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
    try:
        return h5py.File(path, "r")
    except OSError as error:
        got, remedy = _why(path, str(error), error.errno)
        raise SegframeError(subject, expected="a whole HDF5 file", got=got, remedy=remedy) from error


def _why(path: Path, message: str, errno: int | None) -> tuple[str, str]:
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


def member(group: Any, name: str, where: str) -> Any:
    """`group[name]`, or None where there is none.

    Raises:
        SegframeError: it is a link, or its values lie in another file: what is hashed must be what is read.
    """
    import h5py

    link = group.get(name, getlink=True) if name in group.keys() else None
    if link is None:
        return None
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
