"""Maps of masks made once and kept in the user's cache folder, never beside the data.

One file (segframe.map_file) for a maker, its parameters and a data set's content; in it a map is found by
the sha256 of its mask's bytes, so an edited mask never meets a stale map. A file is there whole or not at
all; processes that need the same one wait for the first; what is damaged is noticed and made anew. Where
nothing can be kept, maps are made when they are asked for, and a line says so.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from segframe.atomic import replacing
from segframe.cache import cache_folder, locked
from segframe.dataset import Dataset
from segframe.errors import SegframeError
from segframe.map_file import Damaged, MapFile, digest, write
from segframe.map_making import make_all

log = logging.getLogger("segframe")

LAYOUT = 1
"""Raised when the layout of a file or of a key changes."""

MEMORY_BYTES = 2**30
"""How much is held in memory of maps that cannot be kept on the disk."""


class KeptMaps:
    """A maker that makes nothing twice: channels, dtype, padding, version and make(mask), as segframe_maps.

    Args:
        name: the maker's name in the catalog.
        maker: what its builder returned.
        check: read every map of a file that is there already, not its index alone.
        on_map: called after each map that is made; it may raise, and nothing is left then.

    Raises:
        SegframeError: a sample cannot be read, or the maker does not return what it announced.
    """

    def __init__(
        self,
        name: str,
        maker: Any,
        dataset: Dataset,
        *,
        check: bool = False,
        on_map: Callable[[], None] = lambda: None,
    ):
        self.name, self.maker, self.dataset, self.on_map = name, maker, dataset, on_map
        self.channels, self.dtype, self.padding = maker.channels, maker.dtype, maker.padding
        self.version = maker.version
        spacing = dataset.spacing and list(dataset.spacing)
        self.key = json.dumps([LAYOUT, name, maker.version, maker.channels, maker.dtype,
                               dataset.num_classes, dataset.ignore_index, spacing])  # fmt: skip
        self.file: MapFile | None = None
        self._memory: dict[str, np.ndarray] = {}
        self._bytes, self._told = 0, False
        try:
            self.path = _folder() / f"{name}-{_short(self.key)}-{dataset.content_hash[:16]}.h5"
            self.file = self._open(check) or self._made(check)
        except OSError as error:
            why = " ".join(str(error).split())
            log.warning("The maps %s cannot be kept and are made in each run anew: %s", name, why)

    def make(self, mask: np.ndarray) -> np.ndarray:
        """(height, width) uint8 -> (height, width, channels): read, or made where it is not there."""
        of = digest(mask)
        if self.file is not None:
            try:
                return self.file.read(of)
            except KeyError:
                self._tell(f"{self.path} lacks the maps of some masks: they are made in each run anew.")
            except Damaged as error:
                self._tell(f"Kept maps are damaged ({error}): made anew, and all of them in the next run.")
                with contextlib.suppress(OSError):
                    self.path.unlink()
        if of not in self._memory:
            made = np.ascontiguousarray(self.maker.make(mask))
            if self._bytes + made.nbytes > MEMORY_BYTES:
                return made
            self._bytes += made.nbytes
            self._memory[of] = made
        return self._memory[of]

    def where(self) -> str:
        """Where they are, for people: the file's name, or "in memory"."""
        return self.path.name if self.file is not None else "in memory"

    def _tell(self, line: str) -> None:
        if not self._told:
            self._told = True
            log.warning(line)

    def _open(self, check: bool, tell: bool = False) -> MapFile | None:
        """The file if it is there and whole."""
        try:
            file = MapFile(self.path, self.key)
            if check:
                file.check()
            return file
        except FileNotFoundError:
            return None
        except Damaged as error:
            if tell:
                log.warning("Kept maps are damaged (%s): what is lost is made anew.", error)
            return None

    def _made(self, check: bool) -> MapFile:
        """Make the file, or wait for the process that does."""
        with locked(self.path, f"making the maps {self.name}", self.on_map):
            there = self._open(check, tell=True)
            if there is not None:
                return there
            self._write()
            try:
                return MapFile(self.path, self.key)
            except Damaged as error:
                raise OSError(f"what was just written cannot be read: {error}") from error

    def _write(self) -> None:
        start = time.monotonic()
        for left_by_a_kill in self.path.parent.glob(f".*.{self.path.name}"):
            left_by_a_kill.unlink()
        samples = sum(len(self.dataset.ids(split)) for split in self.dataset.splits)
        path = getattr(self.dataset, "path", None)  # a data set need not be a file
        about = {"maps": self.name, "of": str(Path(path).resolve()) if path else "", "samples": samples,
                 "made": time.strftime("%Y-%m-%d %H:%M")}  # fmt: skip
        # Most masks of an edited data set are those of the one before: their maps are taken from there.
        earlier = []
        for path in self.path.parent.glob(f"{self.name}-{_short(self.key)}-*.h5"):
            with contextlib.suppress(Damaged, FileNotFoundError):
                earlier.append(MapFile(path, self.key))
        maps = make_all(self.name, self.maker, self.dataset, earlier, self.on_map)
        with contextlib.closing(maps), replacing(self.path) as temporary:
            write(temporary, maps, key=self.key, about=about)
        for file in earlier:
            file.close()
        seconds = time.monotonic() - start
        log.info("Made the maps %s of %d samples in %.1f s: %s", self.name, samples, seconds, self.path)


def _folder() -> Path:
    try:
        found = cache_folder() / "maps"
    except SegframeError as error:
        raise OSError(str(error)) from error
    found.mkdir(exist_ok=True)
    return found


def _short(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:12]
