"""The built-in data set "toy": one mask of 4x4 pixels, and noisy grey copies of it as its images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from segframe.dataset import IGNORED, Dataset, Sample
from segframe.errors import SegframeError
from segframe.hooks import hookimpl
from segframe.plugins import ranges

if TYPE_CHECKING:
    import numpy as np

MASK = ((0, 1, 1, 1), (1, 1, 1, 1), (0, 1, 1, 1), (1, 0, 1, 1))
"""Of the MagmaDNN project's slides. Their image is not known."""

DARK, BRIGHT = 64, 192


@hookimpl
def segframe_datasets():
    return {"toy": build_toy}


def build_toy(
    *,
    samples_train: int = 2048,
    samples_val: int = 16,
    samples_test: int = 16,
    noise: float = 0.1,
    seed: int = 0,
) -> Dataset:
    """Grey 4x4 images, made in memory: 64 where the mask is 0, 192 where it is 1, and noise.

    Args:
        samples_train, samples_val, samples_test: how many; val and test may be 0.
        noise: largest change of a pixel, of the range 0 to 255; uniform, each pixel by itself.
        seed: another seed gives other noise.

    Raises:
        SegframeError: a number is out of range.
    """
    samples = {"train": samples_train, "val": samples_val, "test": samples_test}
    for name, least, value in (
        *((f"samples_{split}", int(split == "train"), count) for split, count in samples.items()),
        ("seed", 0, seed),
    ):
        if value < least:
            remedy = f"Give dataset.{name}={least} or more."
            raise SegframeError(f"dataset.{name}", expected=f">= {least}", got=str(value), remedy=remedy)
    ranges.from_zero_to_one("dataset.noise", noise)
    return _Toy(samples, noise, seed)


class _Toy:
    """segframe.dataset.Dataset."""

    num_classes, class_names, ignore_index, spacing = 2, ("background", "object"), IGNORED, None
    image_shape = (4, 4, 1)

    def __init__(self, samples: dict[str, int], noise: float, seed: int):
        import numpy as np

        self.mask = np.array(MASK, np.uint8)
        largest = round(255 * noise)
        self.images: dict[str, np.ndarray] = {}
        for number, (split, count) in enumerate(samples.items()):
            if count:
                rng = np.random.Generator(np.random.PCG64([seed, number]))
                changes = rng.integers(-largest, largest + 1, size=(count, 4, 4, 1))
                clean = np.where(self.mask == 1, BRIGHT, DARK)[..., None]
                self.images[split] = np.clip(clean + changes, 0, 255).astype(np.uint8)
        self.splits = tuple(self.images)

    @property
    def content_hash(self) -> str:
        facts = [self.class_names, {split: self.ids(split) for split in self.splits}]
        digest = hashlib.sha256(json.dumps(facts).encode())
        for values in (self.mask, *self.images.values()):
            digest.update(values.tobytes())
        return digest.hexdigest()

    def ids(self, split: str) -> Sequence[str]:
        return [f"{split}-{number:04d}" for number in range(len(self.images[split]))]

    def groups(self, split: str) -> Sequence[str]:
        return self.ids(split)

    def read(self, split: str, indices: Sequence[int]) -> list[Sample]:
        return [Sample(self.images[split][index].copy(), self.mask.copy()) for index in indices]
