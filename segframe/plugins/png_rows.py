"""PNG files written row by row, so that an image of any size needs the memory of a few rows."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

GREY, RGB, INDEXED = 0, 2, 3  # colour types of PNG (W3C, third edition)
NONE, UP = 0, 2  # filters: each value as it is, or less the one above it
CHUNK = 2**20


class PngRows:
    """`with PngRows(path, height, width, INDEXED, palette) as png: png.write(rows)`, from the top down.

    Args:
        path: written as it goes; whole once the context is left.
        palette: (red, green, blue) of each index, for INDEXED.
        texts: what the file says of itself (tEXt chunks, Latin-1).
        bits: 8, or 16 for GREY and RGB: Pillow has no PNG of 16 bits and three channels.
        filtered: UP makes photographs smaller; ids are no gradients.
    """

    def __init__(
        self,
        path: Path,
        height: int,
        width: int,
        kind: int,
        palette: Sequence[tuple[int, int, int]] = (),
        texts: Mapping[str, str] | None = None,
        bits: int = 8,
        filtered: int = NONE,
    ):
        import numpy as np

        self._missing, self._row_bytes = height, width * (3 if kind == RGB else 1) * bits // 8
        self._filter, self._above = filtered, np.zeros(self._row_bytes, np.uint8)
        self._packer = zlib.compressobj(6)
        self._file = open(path, "wb")
        self._file.write(b"\x89PNG\r\n\x1a\n")
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
        if palette:
            self._chunk(b"PLTE", bytes(value for colour in palette for value in colour))
        for key, text in (texts or {}).items():
            self._chunk(b"tEXt", key.encode("latin-1") + b"\0" + text.encode("latin-1"))

    def write(self, rows: np.ndarray) -> None:
        """(rows, width) or, of RGB, (rows, width, 3) uint8 or, of 16 bits, uint16: the next ones."""
        import numpy as np

        big = np.ascontiguousarray(rows, rows.dtype.newbyteorder(">"))
        values = big.reshape(len(rows), -1).view(np.uint8)
        filtered = np.empty((len(rows), 1 + self._row_bytes), np.uint8)
        filtered[:, 0], filtered[:, 1:] = self._filter, values
        if self._filter == UP:
            filtered[0, 1:] -= self._above
            filtered[1:, 1:] -= values[:-1]
            self._above = values[-1].copy()
        self._missing -= len(rows)
        self._chunk(b"IDAT", self._packer.compress(filtered.tobytes()))

    def __enter__(self) -> PngRows:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        try:
            if kind is None:
                if self._missing:
                    raise ValueError(f"{self._missing} rows of the PNG were not written")
                self._chunk(b"IDAT", self._packer.flush())
                self._chunk(b"IEND", b"")
        finally:
            self._file.close()

    def _chunk(self, name: bytes, data: bytes) -> None:
        if name == b"IDAT" and not data:  # the packer keeps some back
            return
        self._file.write(struct.pack(">I", len(data)) + name + data)
        self._file.write(struct.pack(">I", zlib.crc32(name + data)))


def read_texts(path: Path) -> dict[str, str]:
    """The tEXt chunks before the pixels of a PNG; none where it is no PNG, or not whole."""
    found: dict[str, str] = {}
    with open(path, "rb") as file:
        if file.read(8) != b"\x89PNG\r\n\x1a\n":
            return {}
        while len(head := file.read(8)) == 8:
            size, name = struct.unpack(">I4s", head)
            if name == b"IDAT" or size > CHUNK:
                break
            data = file.read(size + 4)[:-4]
            if name == b"tEXt":
                key, _, text = data.partition(b"\0")
                found[key.decode("latin-1")] = text.decode("latin-1")
    return found
