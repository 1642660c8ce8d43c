"""A file of decoded samples: written once, no sample believed without its checksum. The layout:

image and mask of each sample, as their bytes lie in memory, each at a multiple of 64
JSON: {"key", "about", "samples": {id: [offset, shape of the image, its dtype, crc32 of both]}}
24 bytes: where the JSON begins, its bytes, its crc32, MAGIC
"""

from __future__ import annotations

import io
import json
import os
import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from segframe.dataset import Sample

MAGIC = b"SEGF"
END = struct.Struct("<QQI4s")
ALIGNMENT = 64


class Damaged(Exception):
    """A file, or a sample in it, that is not what was written."""


def file_bytes(samples: int, image_shape: tuple[int, int, int], dtype: Any) -> int:
    """At most so many bytes have these samples, all of the largest size."""
    height, width, channels = image_shape
    return samples * (height * width * (channels * np.dtype(dtype).itemsize + 1) + 2 * ALIGNMENT)


def write(path: Path, samples: Iterable[tuple[str, Sample]], key: str, about: Mapping[str, Any]) -> None:
    """Write all samples, (id, sample) each, and the index. Let `path` be a temporary name.

    Raises:
        OSError: the disk is full, say.
    """
    index: dict[str, list[Any]] = {}
    with open(path, "wb") as file:
        for name, (image, mask) in samples:
            image, mask = np.ascontiguousarray(image), np.ascontiguousarray(mask)
            index[name] = [file.tell(), list(image.shape), str(image.dtype), _checksum(name, image, mask)]
            for array in (image, mask):
                file.write(array.data)
                file.write(bytes(-file.tell() % ALIGNMENT))
        text = json.dumps({"key": key, "about": about, "samples": index}).encode()
        where = file.tell()
        file.write(text)
        file.write(END.pack(where, len(text), zlib.crc32(text), MAGIC))


class SampleFile:
    """A file of samples, open for reading; safe in several threads.

    Raises:
        FileNotFoundError: there is none.
        Damaged: it is cut off, of another key, or its index is not what was written.
    """

    def __init__(self, path: Path, key: str | None = None):
        self.path = path
        self._file = io.FileIO(path, "r")
        try:
            size = os.fstat(self._file.fileno()).st_size
            where, length, checksum, magic = END.unpack(self._at(size - END.size, END.size))
            text = self._at(where, length) if where + length + END.size == size else b""
            if magic != MAGIC or zlib.crc32(text) != checksum:
                raise Damaged(f"{path}: its index is not what was written")
            found = json.loads(text)
        except (OSError, struct.error, ValueError, OverflowError) as error:
            raise Damaged(f"{path}: {error}") from error
        self.about: dict[str, Any] = found["about"]
        self._samples: dict[str, list[Any]] = found["samples"]
        self._good: set[str] = set()
        if key is not None and found["key"] != key:
            raise Damaged(f"{path}: it belongs to {found['key']}")

    def shape(self, name: str) -> tuple[tuple[int, ...], str]:
        """Shape and dtype of a sample's image."""
        _, shape, dtype, _ = self._samples[name]
        return tuple(shape), dtype

    def read(self, name: str, image: np.ndarray, mask: np.ndarray) -> None:
        """Read a sample into C-contiguous arrays of its shapes and dtypes; checked the first time.

        Raises:
            Damaged: it is not what was written.
        """
        offset, _, _, checksum = self._samples[name]
        try:
            for array in (image, mask):
                there = os.preadv(self._file.fileno(), [array.reshape(-1).view(np.uint8).data], offset)
                if there != array.nbytes:
                    raise Damaged(f"{self.path}: it ends within {name!r}")
                offset += array.nbytes + -array.nbytes % ALIGNMENT
        except OSError as error:
            raise Damaged(f"{self.path}: {error}") from error
        if name not in self._good:
            if _checksum(name, image, mask) != checksum:
                raise Damaged(f"{self.path}: {name!r} is not what was written")
            self._good.add(name)

    def _at(self, offset: int, size: int) -> bytes:
        return os.pread(self._file.fileno(), size, offset)


def _checksum(name: str, image: np.ndarray, mask: np.ndarray) -> int:
    """Of name, shapes, dtypes and bytes: one sample does not pass for another."""
    start = zlib.crc32(f"{name} {image.shape} {image.dtype} {mask.shape} {mask.dtype}".encode())
    return zlib.crc32(mask.data, zlib.crc32(image.data, start))
