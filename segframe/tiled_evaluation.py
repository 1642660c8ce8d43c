"""Whole images of a run on patches, validated and tested by tiles of the patch's size in bounded memory.

The prediction is that of `predict` (segframe.sliding_window). The loss of an image is the mean over its
tiles, each with the mask and the maps under it, as a patch has it in training: no logits of the whole image
are kept. An image that is no larger than a tile has its own loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from segframe.batch import MASK_PADDING
from segframe.dataset import Sample
from segframe.pipeline import Pipeline
from segframe.sliding_window import bands
from segframe.step import Steps


class Evaluated(NamedTuple):
    """One image, in its own size."""

    loss: float
    mask: np.ndarray
    """(height, width) uint8 class ids, IGNORED where nothing is known."""
    ids: np.ndarray
    """(height, width) uint8, predicted."""


def by_tiles(
    steps: Steps, pipeline: Pipeline, part: str, positions: Sequence[int] | None = None
) -> Iterator[Evaluated]:
    """Each image of a part (or some of them) in its order; the next one is read meanwhile."""
    chosen = pipeline.parts[part]
    indices = [chosen.indices[i] for i in (range(len(chosen.ids)) if positions is None else positions)]

    def read(index: int) -> tuple[Sample, dict[str, np.ndarray]]:
        sample = pipeline.dataset.read(chosen.split, [index])[0]
        return sample, {name: maker.make(sample.mask) for name, maker in pipeline.maps.items()}

    with ThreadPoolExecutor(1) as reader:
        following = reader.submit(read, indices[0]) if indices else None
        for number in range(len(indices)):
            assert following is not None, "submitted one image ago"
            sample, maps = following.result()
            if number + 1 < len(indices):
                following = reader.submit(read, indices[number + 1])
            yield _evaluated(steps, pipeline, sample, maps)


def _evaluated(steps: Steps, pipeline: Pipeline, sample: Sample, maps: Mapping[str, np.ndarray]) -> Evaluated:
    assert pipeline.patches is not None, "asked for by a run on patches"
    padding = MASK_PADDING | {name: maker.padding for name, maker in pipeline.maps.items()}
    target = {"mask": sample.mask, **maps}
    losses: list[float] = []
    corners: list[tuple[int, int]] = []

    def told(top: int, lefts: Sequence[int]) -> None:
        corners[:] = [(top, left) for left in lefts]

    def logits(tiles: np.ndarray) -> np.ndarray:
        size = tiles.shape[1:3]
        below = {
            name: np.stack([_cut(entry, at, size, padding[name]) for at in corners])
            for name, entry in target.items()
        }
        below["mask"] = below["mask"].astype(np.int32)
        loss, found = steps.evaluate_tiles(tf.constant(tiles), {k: tf.constant(v) for k, v in below.items()})
        losses.extend(loss.numpy().tolist())
        return found.numpy()

    found = bands(
        lambda start, stop: sample.image[start:stop],
        sample.mask.shape,
        logits,
        tile=pipeline.full_size,
        overlap=pipeline.patches.overlap,
        at_once=pipeline.batch_size,
        multiple=pipeline.size_multiple,
        told=told,
    )
    ids = np.concatenate([band.argmax(-1).astype(np.uint8) for _, band in found])
    return Evaluated(float(np.mean(losses)), sample.mask, ids)


def _cut(values: np.ndarray, at: tuple[int, int], size: tuple[int, ...], padding: float) -> np.ndarray:
    """What lies under a tile; a tile may go on past the image's end."""
    inside = values[at[0] : at[0] + size[0], at[1] : at[1] + size[1]]
    more = [(0, size[0] - inside.shape[0]), (0, size[1] - inside.shape[1])]
    return np.pad(inside, [*more, *[(0, 0)] * (values.ndim - 2)], constant_values=padding)
