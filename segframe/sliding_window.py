"""Logits of an image of any size by tiles that overlap, in the memory of one row of tiles.

The logits of overlapping tiles are averaged with Gaussian weights, highest in the middle of a tile, where the
network sees most around a pixel: sigma is an eighth of the tile, and the tiles are spread evenly (Isensee et
al., nnU-Net, Nature Methods 18, 2021). The weights of a tile are a product of one vector for its rows and one
for its columns, and so is their sum over all tiles of a grid: no map of weights is kept.

Tiles begin at multiples of what the network's pooling divides by, on an image that is continued by its edge
pixels to such a size, as it is when it goes whole: so a tile pools the same pixels together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

SIGMA = 1 / 8


def starts(size: int, tile: int, overlap: float, multiple: int = 1) -> list[int]:
    """First pixels of tiles along an axis: spread evenly, neighbours share `overlap` of a tile or more.

    Args:
        size, tile: multiples of `multiple`, as the starts are.
    """
    if size <= tile:
        return [0]
    if multiple > 1:
        return [multiple * start for start in starts(size // multiple, tile // multiple, overlap)]
    steps = math.ceil((size - tile) / max(1, tile * (1 - overlap)))
    return [round(step * (size - tile) / steps) for step in range(steps + 1)]


def importance(tile: int) -> np.ndarray:
    """(tile,) float32 Gaussian of the distance from the middle, 1 there and above exp(-8) at the ends."""
    import numpy as np

    distance = np.arange(tile) - (tile - 1) / 2
    return np.exp(-0.5 * (distance / (SIGMA * tile)) ** 2).astype(np.float32)


def weight_sums(size: int, tile: int, overlap: float, multiple: int = 1) -> np.ndarray:
    """(size,) float32: importances of all tiles along an axis added up."""
    import numpy as np

    tile = min(size, tile)
    total, weights = np.zeros(size, np.float32), importance(tile)
    for start in starts(size, tile, overlap, multiple):
        total[start : start + tile] += weights
    return total


def bands(
    rows: Callable[[int, int], np.ndarray],
    size: tuple[int, int],
    logits: Callable[[np.ndarray], np.ndarray],
    *,
    tile: int | tuple[int, int],
    overlap: float,
    at_once: int,
    multiple: int = 1,
    told: Callable[[int, Sequence[int]], None] = lambda top, lefts: None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Bands of rows that follow each other from the top down: (the image's, its logits).

    Args:
        rows: (start, stop) -> (stop - start, width, channels) of the image; each row is asked for once.
        size: (height, width) of the image.
        logits: (batch, height, width, channels) -> (batch, height, width, num_classes) float32.
        tile: height and width of a tile, multiples of `multiple`; of the image, where that is smaller. One
            number for both.
        overlap: 0 to below 1, the share of a tile that its neighbour covers too.
        at_once: tiles in a batch.
        multiple: tiles begin at multiples of it.
        told: before each batch of tiles, its first row and the first column of each tile.
    """
    import numpy as np

    full = [-(-length // multiple) * multiple for length in size]  # with what is added below and right
    sides = (tile, tile) if isinstance(tile, int) else tile
    height, width = min(sides[0], full[0]), min(sides[1], full[1])
    tops, lefts = starts(full[0], height, overlap, multiple), starts(full[1], width, overlap, multiple)
    weights = (importance(height)[:, None] * importance(width))[..., None]
    row_sums, column_sums = (
        weight_sums(length, side, overlap, multiple) for length, side in zip(full, sides, strict=True)
    )

    def read(start: int, stop: int) -> np.ndarray:
        below, right = max(0, stop - size[0]), full[1] - size[1]
        return np.pad(rows(start, stop - below), [(0, below), (0, right), (0, 0)], mode="edge")

    image = read(0, height)
    sums: np.ndarray | None = None
    for top, below in zip(tops, [*tops[1:], full[0]], strict=True):
        for first in range(0, len(lefts), at_once):
            chosen = lefts[first : first + at_once]
            told(top, chosen)
            found = logits(np.stack([image[:, left : left + width] for left in chosen]))
            if sums is None:
                sums = np.zeros((height, full[1], found.shape[-1]), np.float32)
            for left, one in zip(chosen, found, strict=True):
                sums[:, left : left + width] += weights * one
        assert sums is not None, "there is at least one tile"
        done = below - top  # rows that no further tile covers
        over = row_sums[top:below, None, None] * column_sums[:, None]
        within = np.s_[: min(below, size[0]) - top, : size[1]]
        yield image[within], (sums[:done] / over)[within]
        if below < full[0]:
            image = np.concatenate([image[done:], read(top + height, below + height)])
            sums[: height - done] = sums[done:].copy()
            sums[height - done :] = 0
