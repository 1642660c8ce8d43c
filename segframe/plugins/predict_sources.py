"""What `predict` is given -> one item per image: its name in OUT, its size, and how its rows are read."""

from __future__ import annotations

import glob
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from segframe.errors import SegframeError
from segframe.plugins.image_files import ENDINGS, Page, pages, read_header, read_image

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("segframe")

HDF5_ENDINGS = (".h5", ".hdf5")

Rows = Callable[[int, int], "np.ndarray"]
"""(start, stop) -> (stop - start, width, channels) of an image; rows are asked for from the top down."""


class Item(NamedTuple):
    """One image to predict."""

    name: str
    """Of its outputs, without ending: may have folders in it."""
    source: Path
    where: str
    """Of messages: file and page, or file and sample."""
    size: tuple[int, int]
    open: Callable[[], Rows]
    """Raises SegframeError: it cannot be read."""
    sample: tuple[str, int] | None = None
    """Split and index, in an HDF5 file."""

    def stamp(self) -> str:
        """What changes when the file is written again: its bytes and the time, in nanoseconds."""
        found = self.source.stat()
        return f"{found.st_size} bytes, {found.st_mtime_ns}"


class Found(NamedTuple):
    items: list[Item]
    failed: dict[str, str]
    """{file: what is wrong with it}"""


def find_items(inputs: Sequence[str], splits: Sequence[str] | None) -> Found:
    """The images of folders (with all below them), files, globs and HDF5 files, in the order given.

    A file's name is its own without the ending, in a folder with the path from there; where that is twice,
    the path from what all inputs have in common; where it still is (a.png, a.jpg), with the ending.

    Args:
        splits: of HDF5 files: only these.

    Raises:
        SegframeError: an input is not there or has no image, an HDF5 file cannot be understood.
    """
    from segframe.plugins.predict_hdf5 import hdf5_items

    named: list[tuple[str, Path]] = []
    items: list[Item] = []
    several = len(inputs) > 1
    for given in inputs:
        paths = _paths(given)
        for path in paths:
            if path.is_dir():
                named += [(str(file.relative_to(path).with_suffix("")), file) for file in _below(path)]
            elif path.suffix.lower() in HDF5_ENDINGS:
                prefix = f"{path.stem}/" if several or len(paths) > 1 else ""
                items += hdf5_items(path, prefix, splits)
            else:
                named.append((path.stem, path))
    if splits and not items:
        remedy = "Leave it away: folders have no splits."
        raise SegframeError("--split", expected="an HDF5 file", got="none", remedy=remedy)
    failed: dict[str, str] = {}
    for name, path in _apart(named):
        try:
            items += _of_file(name, path)
        except SegframeError as error:
            failed[str(path)] = error.got
    twice = [name for name, count in Counter(item.name.lower() for item in items).items() if count > 1]
    if twice:
        remedy = "Give the inputs to calls of their own, with an OUT each."
        raise SegframeError("inputs", expected="names that differ", got=f"{twice[0]!r} twice", remedy=remedy)
    return Found(items, failed)


def _paths(given: str) -> list[Path]:
    """What is there of that name, or what the glob matches."""
    path = Path(given).expanduser()
    if path.exists():
        return [path]
    found = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
    if not found:
        raise SegframeError(
            given,
            expected="a folder, an image, a glob or an HDF5 file",
            got="nothing of that name",
            remedy="Check the path; the order is RUN IMAGES... OUT.",
        )
    return found


def _below(folder: Path) -> list[Path]:
    """All image files of a folder, in the order of their names; what else lies there is said."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and not _hidden(file, folder)]
    images = [file for file in files if file.suffix.lower() in ENDINGS]
    others = Counter(file.suffix or file.name for file in files if file not in set(images))
    if others:
        kinds = ", ".join(f"{count} {ending}" for ending, count in sorted(others.items()))
        log.info("%s: left alone, as they are no images: %s", folder, kinds)
    if not images:
        raise SegframeError(
            f"folder {folder}",
            expected=f"images ({', '.join(ENDINGS)})",
            got="none",
            remedy="HDF5 files in a folder are named themselves.",
        )
    return images


def _hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _apart(named: list[tuple[str, Path]]) -> Iterator[tuple[str, Path]]:
    """The same, names that are there twice made longer; one file given twice is one."""
    files = {path.absolute(): name for name, path in reversed(named)}
    count = Counter(name.lower() for name in files.values())
    if any(count[name.lower()] > 1 for name in files.values()):
        common = Path(os.path.commonpath([path.parent for path in files]))
        log.info("names that are there twice become paths from %s", common)
        for path, name in files.items():
            if count[name.lower()] > 1:
                files[path] = str(path.relative_to(common).with_suffix(""))
        count = Counter(name.lower() for name in files.values())
    for path in dict.fromkeys(path.absolute() for _, path in named):
        name = files[path]
        yield (name + path.suffix if count[name.lower()] > 1 else name), path


def _of_file(name: str, path: Path) -> Iterator[Item]:
    count = pages(path)
    for number in range(count):
        page = Page(path, number)
        header = read_header(page)
        own = f"{name}-{number + 1:0{len(str(count))}d}" if count > 1 else name
        yield Item(own, path, str(page), header.size, _opener(page))


def _opener(page: Page) -> Callable[[], Any]:
    def opened() -> Rows:
        image = read_image(page)
        return lambda start, stop: image[start:stop]

    return opened
