"""Where the chunks of an array lie in its file."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any


class ChunkIndex:
    """Offset, bytes and spared filters of each chunk that was written; 32 bytes a chunk.

    Args:
        stored: the h5py.Dataset.
        batch: 1 where its first axis is samples; 0: one of length 1 is put before its axes.
        chunks: shape of a chunk.
        grid: how many there are along each axis.
    """

    def __init__(self, stored: Any, batch: int, chunks: tuple[int, ...], grid: tuple[int, ...]):
        import numpy as np

        found = array("q")
        lead = () if batch else (0,)

        def note(chunk: Any) -> None:
            place = 0
            for first, step, many in zip((*lead, *chunk.chunk_offset), chunks, grid, strict=True):
                if first // step >= many:
                    return  # left over from when the array was larger
                place = place * many + first // step
            found.extend((place, chunk.byte_offset, chunk.size, chunk.filter_mask))

        stored.id.chunk_iter(note)
        table = np.frombuffer(found, np.int64).reshape(-1, 4)
        self._places, *self._facts = table[table[:, 0].argsort()].T.copy()

    def __len__(self) -> int:
        return len(self._places)

    def find(self, place: int) -> tuple[int, int, int] | None:
        """Of the chunk with this number, counted along the grid's last axis first; None: not written."""
        at = int(self._places.searchsorted(place))
        if at == len(self._places) or self._places[at] != place:
            return None
        offset, size, spared = (int(column[at]) for column in self._facts)
        return offset, size, spared

    def find_each(self, places: Sequence[int]) -> tuple[list[int], list[int], list[int]] | None:
        """Of several: their offsets, sizes and spared filters; None: one of them was not written."""
        at = self._places.searchsorted(places)
        if not len(self._places) or (self._places.take(at, mode="clip") != places).any():
            return None
        offset, size, spared = (column[at].tolist() for column in self._facts)
        return offset, size, spared
