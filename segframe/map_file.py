"""A file of maps: written once, never changed, and nothing in it believed without its checksum. The layout:

    /maps/DIGEST       (height, width, channels) uint16 or float32, one chunk, shuffled, gzip
    /index/digests     (maps,) S64: sha256 of each mask, see `digest`
    /index/checksums   (maps,) uint32: crc32 of each map, see `checksum`
    / attributes       key (JSON: what the values depend on), about (JSON: for people), index (crc32)

The index is written last, and the file gets its name when all of it is on the disk (segframe.atomic).
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from segframe.hdf5_sink import Hdf5Sink


class Damaged(Exception):
    """A file, or a map in it, that is not what was written."""


def digest(mask: np.ndarray) -> str:
    """sha256 of a (height, width) uint8 mask's shape and bytes, 64 hexadecimal digits."""
    found = hashlib.sha256(json.dumps([*mask.shape, str(mask.dtype)]).encode())
    found.update(np.ascontiguousarray(mask).data)
    return found.hexdigest()


def checksum(name: str, values: np.ndarray) -> int:
    """crc32 of a map's name, shape, dtype and bytes: one map does not pass for another."""
    start = zlib.crc32(f"{name} {values.shape} {values.dtype}".encode())
    return zlib.crc32(np.ascontiguousarray(values).data, start)


def write(path: Path, maps: Iterable[tuple[str, np.ndarray]], *, key: str, about: Mapping[str, Any]) -> None:
    """Write all maps, (digest, values) each, and the index. Let `path` be a temporary name.

    Raises:
        OSError: the disk is full, say.
    """
    import h5py

    checksums: dict[str, int] = {}
    options = {"shuffle": True, "compression": "gzip", "compression_opts": 1}
    with Hdf5Sink(path) as sink, h5py.File(sink, "w") as file:
        for name, values in maps:
            file.create_dataset(f"maps/{name}", data=values, chunks=values.shape, **options)
            checksums[name] = checksum(name, values)
            sink.check()
        file["index/digests"] = np.array(list(checksums), "S64")
        file["index/checksums"] = np.array(list(checksums.values()), np.uint32)
        file.attrs["key"], file.attrs["about"] = key, json.dumps(about, ensure_ascii=False)
        file.attrs["index"] = _index_checksum(key, checksums)


class MapFile:
    """A file of maps, open for reading; safe in several threads.

    Raises:
        FileNotFoundError: there is none.
        Damaged: it is cut off, of another key, or its index is not what was written.
    """

    def __init__(self, path: Path, key: str | None = None):
        import h5py

        self.path = path
        if not path.exists():
            raise FileNotFoundError(path)
        try:
            # Without a lock: the file never changes once it has its name.
            self._file = h5py.File(path, "r", locking=False)
            self.key, self.about = str(self._file.attrs["key"]), json.loads(self._file.attrs["about"])
            names = [name.decode() for name in self._file["index/digests"][()]]
            sums = self._file["index/checksums"][()].tolist()
            self.checksums = dict(zip(names, sums, strict=True))
            intact = self._file.attrs["index"] == _index_checksum(self.key, self.checksums)
        except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
            raise Damaged(f"{path}: {_first_line(error)}") from error
        if not intact or key not in (None, self.key):
            raise Damaged(f"{path}: its index is not what was written")

    def read(self, name: str) -> np.ndarray:
        """(height, width, channels) map of the mask of this digest.

        Raises:
            KeyError: there is none.
            Damaged: it is not what was written.
        """
        expected = self.checksums[name]
        try:
            values = self._values(name)
        except (OSError, RuntimeError, KeyError, ValueError, TypeError, zlib.error) as error:
            raise Damaged(f"{self.path}: {_first_line(error)}") from error
        if checksum(name, values) != expected:
            raise Damaged(f"{self.path}: a checksum differs")
        return values

    def check(self) -> None:
        """Read every map.

        Raises:
            Damaged: one is not what was written.
        """
        for name in self.checksums:
            self.read(name)

    def close(self) -> None:
        self._file.close()

    def _values(self, name: str) -> np.ndarray:
        from h5py._objects import phil

        dataset = self._file[f"maps/{name}"]
        # h5py 3.14 forgets its lock in this one call, and HDF5 in two threads at once corrupts memory.
        with phil:
            skipped, chunk = dataset.id.read_direct_chunk((0, 0, 0))
        if skipped:  # a filter that would have made it larger
            return dataset[()]
        # Unpacked here, as HDF5 would do it one thread at a time.
        values = np.empty(dataset.shape, dataset.dtype)
        shuffled = np.frombuffer(zlib.decompress(chunk, bufsize=values.nbytes), np.uint8)
        by_value = values.reshape(-1).view(np.uint8).reshape(-1, values.itemsize)
        for place, plane in enumerate(shuffled.reshape(values.itemsize, -1)):
            by_value[:, place] = plane
        return values


def _index_checksum(key: str, checksums: Mapping[str, int]) -> int:
    return zlib.crc32(json.dumps([key, *checksums.items()]).encode())


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
