"""What a data set is like, in numbers: sizes, intensities, classes, objects, images that are there twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from segframe.dataset import IGNORED, Dataset, foreground
from segframe.plugins.near_duplicates import THRESHOLD, image_digest, near_hashes, perceptual_hash

if TYPE_CHECKING:
    import numpy as np


def fingerprint(dataset: Dataset, distance: int | None, shown: Callable[..., Iterable]) -> dict[str, Any]:
    """The facts, for JSON. Each sample is read once; of none more than a hash is kept.

    Args:
        distance: bits in which near-duplicates may differ; None for near_duplicates.THRESHOLD.

    Raises:
        SegframeError: a sample cannot be read, or is not what the layout asks for.
    """
    work = [(split, index) for split in dataset.splits for index in range(len(dataset.ids(split)))]
    splits = {split: _Split(dataset, split) for split in dataset.splits}
    hashes: dict[tuple[str, str], np.ndarray] = {}
    same: dict[bytes, list[tuple[str, str]]] = {}
    dtype = ""
    for split, index in shown(work, "reading", len(work)):
        image, mask = dataset.read(split, [index])[0]
        splits[split].add(image, mask)
        dtype = str(image.dtype)
        key = (split, dataset.ids(split)[index])
        found = perceptual_hash(image)
        if found is not None:  # blank images are alike and mean nothing
            hashes[key] = found
            same.setdefault(image_digest(image), []).append(key)
    return {
        "channels": dataset.image_shape[2],
        "dtype": dtype,
        "class_names": list(dataset.class_names),
        "spacing_mm": list(dataset.spacing) if dataset.spacing else None,
        "splits": {name: split.facts() for name, split in splits.items()},
        "duplicates": [[_named(key) for key in keys] for keys in same.values() if len(keys) > 1],
        "near_duplicates": _near(hashes, same, THRESHOLD if distance is None else distance),
    }


def _near(
    hashes: dict[tuple[str, str], np.ndarray], same: dict[bytes, list[tuple[str, str]]], distance: int
) -> list[dict[str, Any]]:
    """Pairs that are near but not the same, those across splits first."""
    keys = list(hashes)
    group = {key: number for number, twins in enumerate(same.values()) for key in twins}
    pairs = near_hashes([str(number) for number in range(len(keys))], list(hashes.values()), distance)
    found = []
    for pair in pairs:
        first, second = keys[int(pair.first)], keys[int(pair.second)]
        if group[first] != group[second]:
            across = first[0] != second[0]
            found.append({"samples": [_named(first), _named(second)], "bits": pair.bits, "across": across})
    return sorted(found, key=lambda pair: not pair["across"])


def _named(key: tuple[str, str]) -> str:
    return f"{key[0]}: {key[1]}"


class _Split:
    """Sums over the samples of one split."""

    def __init__(self, dataset: Dataset, split: str):
        import numpy as np

        self.names, self.split = list(dataset.class_names), split
        self.groups = len(set(dataset.groups(split)))
        self.sizes: Counter[tuple[int, int]] = Counter()
        channels = dataset.image_shape[2]
        self.low, self.high = np.full(channels, np.inf), np.full(channels, -np.inf)
        self.mean, self.squares = np.zeros(channels), np.zeros(channels)  # about the mean
        self.count = 0
        self.pixels = np.zeros(256, np.int64)
        self.images = np.zeros(256, np.int64)
        self.components: dict[int, list[int]] = {class_id: [] for class_id in range(len(self.names))}

    def add(self, image: np.ndarray, mask: np.ndarray) -> None:
        import numpy as np

        self.sizes[mask.shape] += 1
        values = image.reshape(-1, image.shape[2]).astype(np.float64)
        mean = values.mean(axis=0)
        # Chan, Golub, LeVeque (1983): two samples' sums joined without loss of digits.
        weight = len(values) * self.count / (len(values) + self.count)
        self.squares += ((values - mean) ** 2).sum(axis=0) + weight * (mean - self.mean) ** 2
        self.mean += (mean - self.mean) * len(values) / (len(values) + self.count)
        self.count += len(values)
        self.low = np.minimum(self.low, values.min(axis=0))
        self.high = np.maximum(self.high, values.max(axis=0))
        counts = np.bincount(mask.ravel(), minlength=256)
        self.pixels += counts
        self.images += counts > 0
        for class_id in range(len(self.names)):
            if counts[class_id]:
                self.components[class_id].append(components(mask == class_id))

    def facts(self) -> dict[str, Any]:
        valid = int(self.pixels[:IGNORED].sum())
        share = self.pixels / max(valid, 1)
        classes = {}
        for class_id, name in enumerate(self.names):
            counts = self.components[class_id]
            classes[name] = {
                "pixels": int(self.pixels[class_id]),
                "share": float(share[class_id]),
                "images": int(self.images[class_id]),
                "components": sum(counts),
                "components_per_image": sum(counts) / len(counts) if counts else None,
            }
        return {
            "samples": sum(self.sizes.values()),
            "groups": self.groups,
            "sizes": {f"{height}x{width}": count for (height, width), count in self.sizes.most_common()},
            "intensity": {
                "min": self.low.tolist(),
                "max": self.high.tolist(),
                "mean": self.mean.tolist(),
                "std": ((self.squares / self.count) ** 0.5).tolist(),
            },
            "classes": classes,
            "foreground_share": float(share[foreground(self.names)].sum()),
            "void_share": float(self.pixels[IGNORED] / max(int(self.pixels.sum()), 1)),
        }


def components(where: np.ndarray) -> int:
    """How many pieces a (height, width) bool map has; pixels that touch at a corner are one piece."""
    import numpy as np
    from scipy.ndimage import label

    return int(label(where, structure=np.ones((3, 3), int))[1])
