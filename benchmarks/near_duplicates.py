"""How far apart, in bits of the perceptual hash, copies and different images of real data lie.

    python benchmarks/near_duplicates.py cars.h5 camvid.h5 membrane.h5

For each file: the nearest pairs of different images, and the farthest copy for each way of copying. The
default of `data show --distance` lies between the two; docs/data.md has the numbers.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image

from segframe.plugins.hdf5 import open_hdf5
from segframe.plugins.near_duplicates import BITS, near_hashes, perceptual_hash


def as_jpeg(image: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image.squeeze()).save(file, "JPEG", quality=40)
    return _with_channels(Image.open(file))


def smaller(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    size = width * 2 // 3, height * 2 // 3
    return _with_channels(Image.fromarray(image.squeeze()).resize(size, Image.Resampling.BILINEAR))


def brighter(image: np.ndarray) -> np.ndarray:
    return np.clip(image * 1.2 + 10, 0, 255).astype(np.uint8)


def cropped(image: np.ndarray) -> np.ndarray:
    return image[3:-3, 3:-3]


def _with_channels(image: Image.Image) -> np.ndarray:
    found = np.asarray(image)
    return found if found.ndim == 3 else found[..., None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    for path in parser.parse_args().files:
        dataset = open_hdf5(path=str(path))
        images = [
            dataset.read(split, [index])[0].image
            for split in dataset.splits
            for index in range(len(dataset.ids(split)))
        ]
        hashes = [perceptual_hash(image) for image in images]
        pairs = near_hashes([str(index) for index in range(len(images))], hashes, BITS - 1)
        print(f"{path.name}: {len(images)} images, nearest pairs {[pair.bits for pair in pairs[:4]]}")
        for copy in (as_jpeg, smaller, brighter, cropped):
            found = [perceptual_hash(copy(image)) for image in images]
            bits = [int(np.bitwise_count(old ^ new).sum()) for old, new in zip(hashes, found, strict=True)]
            print(f"  {copy.__name__}: at most {max(bits)}, median {np.median(bits):g}")


if __name__ == "__main__":
    main()
