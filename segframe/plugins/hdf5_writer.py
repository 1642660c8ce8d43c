"""Write an HDF5 data set in the layout of hdf5.py, sample by sample, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segframe.atomic import replacing
from segframe.errors import SegframeError

if TYPE_CHECKING:
    import numpy as np


class Hdf5Writer:
    """Adds samples to an open file; made by `writing`."""

    def __init__(self, file: Any, per_sample: bool):
        self._file, self._per_sample = file, per_sample
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
            if self._per_sample:
                chunks = {"chunks": array.shape, "compression": "lzf"}
                self._file.create_dataset(f"{split}/{kind}/{sample}", data=array, **chunks)
                continue
            if split not in self._ids:
                self._file.create_dataset(
                    f"{split}/{kind}",
                    shape=(0, *array.shape),
                    maxshape=(None, *array.shape),
                    chunks=(1, *array.shape),
                    dtype=array.dtype,
                    compression="lzf",
                )
            stored = self._file[split][kind]
            stored.resize(len(stored) + 1, axis=0)
            stored[-1] = array
        self._ids.setdefault(split, []).append(sample)
        if group is not None:
            self._groups.setdefault(split, []).append(group)

    def set(self, attributes: Mapping[str, Any]) -> None:
        """Set attributes of the file; None is left out."""
        set_attributes(self._file, attributes)

    def finish(self) -> None:
        """Write the names."""
        import h5py

        for kind, named in (("ids", self._ids), ("groups", self._groups)):
            for split, names in named.items():
                self._file[split].create_dataset(kind, data=names, dtype=h5py.string_dtype())


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
    import h5py

    try:
        with replacing(path) as temporary, h5py.File(temporary, "w") as file:
            yield file
            file.flush()
    except OSError as error:
        raise SegframeError(
            f"data file {path}",
            expected="a place to write",
            got=str(error),
            remedy="Check that the folder exists, that you may write there and that the disk has room.",
        ) from error


@contextmanager
def writing(path: Path, *, per_sample: bool = False) -> Iterator[Hdf5Writer]:
    """A writer of a new file.

    Args:
        per_sample: one dataset per sample, for images of differing sizes.

    Raises:
        SegframeError: as new_file.
    """
    with new_file(path) as file:
        writer = Hdf5Writer(file, per_sample)
        yield writer
        writer.finish()
