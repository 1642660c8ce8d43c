"""The built-in toy set: one mask, images that follow it, the same for a seed."""

import numpy as np
import pytest

from segframe import SegframeError
from segframe.plugins.toy import build_toy

SMALL = {"samples_train": 5, "samples_val": 0, "samples_test": 3}


def test_every_mask_is_the_slides_and_images_are_dark_and_bright_within_the_noise():
    toy = build_toy(**SMALL, noise=0.1)
    assert toy.splits == ("train", "test") and len(toy.ids("train")) == 5
    expected = np.array([[int(digit) for digit in row] for row in ("0111", "1111", "0111", "1011")])
    images = set()
    for split, count in (("train", 5), ("test", 3)):
        for image, mask in toy.read(split, range(count)):
            np.testing.assert_array_equal(mask, expected)
            change = image[..., 0].astype(int) - np.where(expected == 1, 192, 64)
            assert 5 < np.abs(change).max() <= 26  # 0.1 of 255 is 25.5
            images.add(image.tobytes())
    assert len(images) == 8


def test_without_noise_every_image_is_the_same():
    toy = build_toy(**SMALL, noise=0.0)
    assert len({sample.image.tobytes() for sample in toy.read("train", range(5))}) == 1


def test_the_seed_decides_the_images_and_the_hash_knows_them():
    one, same, other = (build_toy(**SMALL, seed=seed) for seed in (0, 0, 1))
    assert one.content_hash == same.content_hash != other.content_hash
    assert one.content_hash != build_toy(**SMALL | {"samples_test": 4}).content_hash


@pytest.mark.parametrize(
    "section, message",
    [
        ({"samples_train": 0}, r"dataset\.samples_train: expected >= 1, got 0"),
        ({"samples_val": -1}, r"dataset\.samples_val: expected >= 0"),
        ({"seed": -1}, r"dataset\.seed: expected >= 0"),
        ({"noise": 1.5}, r"dataset\.noise: expected a number from 0 to 1"),
    ],
)
def test_values_out_of_range_are_refused(section, message):
    with pytest.raises(SegframeError, match=message):
        build_toy(**SMALL | section)
