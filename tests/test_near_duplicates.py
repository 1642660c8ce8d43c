"""Copies are found, different images are not; on real data as well."""

import io

import numpy as np
import pytest
from PIL import Image

from segframe.errors import SegframeError
from segframe.plugins.hdf5 import open_hdf5
from segframe.plugins.near_duplicates import BITS, THRESHOLD, near_duplicates, perceptual_hash


def as_jpeg(image):
    file = io.BytesIO()
    Image.fromarray(image.squeeze()).save(file, "JPEG", quality=40)
    found = np.asarray(Image.open(file))
    return found if found.ndim == 3 else found[..., None]


def smaller(image):
    height, width = image.shape[:2]
    found = np.asarray(Image.fromarray(image.squeeze()).resize((width * 2 // 3, height * 2 // 3)))
    return found if found.ndim == 3 else found[..., None]


def brighter(image):
    return np.clip(image * 1.2 + 10, 0, 255).astype(np.uint8)


def cropped(image):
    return image[3:-3, 3:-3]


def images_of(path):
    dataset = open_hdf5(path=str(path))
    return {
        f"{split}/{name}": dataset.read(split, [index])[0].image
        for split in dataset.splits
        for index, name in enumerate(dataset.ids(split))
    }


@pytest.mark.parametrize("name, expected", [("cars", 0), ("membrane", 0), ("camvid", 1)])
def test_copies_of_real_images_are_found_and_nothing_else(data_folder, own_cache, name, expected):
    """Camvid's one pair is the same street, the camera standing."""
    images = images_of(data_folder / f"{name}.h5")
    assert len(near_duplicates(images.items())) == expected
    for copy in (as_jpeg, smaller, brighter, cropped):
        copies = {f"copy of {key}": copy(image) for key, image in list(images.items())[::6]}
        found = near_duplicates([*images.items(), *copies.items()])
        pairs = {(pair.first, pair.second) for pair in found}
        assert {(key.removeprefix("copy of "), key) for key in copies} <= pairs


def test_pairs_are_those_of_a_plain_loop_over_all_hashes():
    rng = np.random.default_rng(0)
    images = {str(index): rng.random((16, 20, 1)).astype(np.float32) for index in range(600)}
    images["same"] = images["7"]
    hashes = {key: np.unpackbits(perceptual_hash(image)) for key, image in images.items()}
    keys = list(images)
    expected = {
        (first, second, int((hashes[first] != hashes[second]).sum()))
        for at, first in enumerate(keys)
        for second in keys[at + 1 :]
        if (hashes[first] != hashes[second]).sum() <= 100
    }
    found = near_duplicates(images.items(), threshold=100)
    assert set(map(tuple, found)) == expected and len(expected) > 1
    assert found[0] == ("7", "same", 0)
    assert [pair.bits for pair in found] == sorted(pair.bits for pair in found)


def test_images_without_contrast_are_near_none():
    blank = np.full((8, 8, 1), 3, np.uint8)
    assert near_duplicates([("a", blank), ("b", blank)]) == [] and near_duplicates([]) == []


@pytest.mark.parametrize("threshold", [-1, BITS])
def test_a_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(SegframeError, match="0 to 255 bits"):
        near_duplicates([], threshold)
    assert 0 < THRESHOLD < BITS
