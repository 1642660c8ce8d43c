"""Write an HDF5 data set in the layout of hdf5.py, sample by sample, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segframe.atomic import replacing, writable
from segframe.hdf5_sink import Hdf5Sink

if TYPE_CHECKING:
    import numpy as np


class Hdf5Writer:
    """Adds samples to an open file; made by `writing`."""

    def __init__(self, file: Any, per_sample: bool, check: Callable[[], None] = lambda: None):
        """`check` raises what went wrong with the disk, so that no sample is written after it."""
        self._file, self._per_sample, self._check = file, per_sample, check
        self._ids: dict[str, list[str]] = {}
        self._groups: dict[str, list[str]] = {}

    def add(
        self, split: str, sample: str, image: np.ndarray, mask: np.ndarray, group: str | None = None
    ) -> None:
        """Append one sample.

        Args:
            sample: its name.
            image: (height, width, channels) uint8 or float32.
            mask: (height, width) uint8 class ids.
            group: what must not be split; for all samples or for none.
        """
        for kind, array in (("images", image), ("masks", mask)):
            stored, index = self._place(split, kind, sample, array.shape, array.dtype)
            stored[... if index is None else index] = array
        self._name(split, sample, group)

    def add_stored(
        self, split: str, sample: str, image: Any, mask: Any, index: int | None, group: str | None = None
    ) -> None:
        """Append a sample of another file that this writer wrote, as it is compressed there.

        Args:
            image: the h5py.Dataset that it lies in; mask the same.
            index: its place there; None for a dataset of its own.
        """
        for kind, old in (("images", image), ("masks", mask)):
            shape = old.shape if index is None else old.shape[1:]
            stored, place = self._place(split, kind, sample, shape, old.dtype)
            rest = (0,) * len(shape)
            skipped, chunk = old.id.read_direct_chunk(rest if index is None else (index, *rest))
            stored.id.write_direct_chunk(rest if place is None else (place, *rest), chunk, skipped)
        self._name(split, sample, group)

    def set(self, attributes: Mapping[str, Any]) -> None:
        """Set attributes of the file; None is left out."""
        set_attributes(self._file, attributes)

    def finish(self) -> None:
        """Write the names."""
        import h5py

        for kind, named in (("ids", self._ids), ("groups", self._groups)):
            for split, names in named.items():
                self._file[split].create_dataset(kind, data=names, dtype=h5py.string_dtype())

    def _place(
        self, split: str, kind: str, sample: str, shape: tuple[int, ...], dtype: Any
    ) -> tuple[Any, int | None]:
        """A dataset with room for the sample, and where in it."""
        if self._per_sample:
            options = {"shape": shape, "dtype": dtype, "chunks": shape, "compression": "lzf"}
            return self._file.create_dataset(f"{split}/{kind}/{sample}", **options), None
        if split not in self._file or kind not in self._file[split]:
            self._file.create_dataset(
                f"{split}/{kind}",
                shape=(0, *shape),
                maxshape=(None, *shape),
                chunks=(1, *shape),
                dtype=dtype,
                compression="lzf",
            )
        stored = self._file[split][kind]
        stored.resize(len(stored) + 1, axis=0)
        return stored, len(stored) - 1

    def _name(self, split: str, sample: str, group: str | None) -> None:
        self._check()
        self._ids.setdefault(split, []).append(sample)
        if group is not None:
            self._groups.setdefault(split, []).append(group)


def set_attributes(file: Any, attributes: Mapping[str, Any]) -> None:
    """Set attributes of an open file, lists of text as HDF5 strings; None is left out."""
    import h5py

    for name, value in attributes.items():
        if value is None:
            continue
        texts = isinstance(value, list | tuple) and all(isinstance(part, str) for part in value)
        file.attrs.create(name, value, dtype=h5py.string_dtype() if texts else None)


@contextmanager
def new_file(path: Path) -> Iterator[Any]:
    """An h5py.File that becomes `path` when all went well; until then there is nothing of that name.

    Raises:
        SegframeError: the folder is not there or not writable, or the disk is full.
    """
    with _new(path) as (file, _):
        yield file


@contextmanager
def writing(path: Path, *, per_sample: bool = False) -> Iterator[Hdf5Writer]:
    """A writer of a new file.

    Args:
        per_sample: one dataset per sample, for images of differing sizes.

    Raises:
        SegframeError: as new_file.
    """
    with _new(path) as (file, sink):
        writer = Hdf5Writer(file, per_sample, sink.check)
        yield writer
        writer.finish()


@contextmanager
def _new(path: Path) -> Iterator[tuple[Any, Hdf5Sink]]:
    import h5py

    remedy = "Check that the folder exists, that you may write there and that the disk has room."
    with (
        writable(f"data file {path}", remedy),
        replacing(path) as temporary,
        Hdf5Sink(temporary) as sink,
        h5py.File(sink, "w") as file,
    ):
        yield file, sink
        file.flush()
        sink.check()
