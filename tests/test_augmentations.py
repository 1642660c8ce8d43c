"""Flips, quarter turns and intensity against NumPy's, over many seeds."""

import numpy as np
import pytest
import tensorflow as tf

from segframe import SegframeError
from segframe.plugins.augmentations import build_flip, build_intensity, build_quarter_turn

SEEDS = range(64)


def sample(height, width, channels=2):
    random = np.random.default_rng(0)
    image = random.random((height, width, channels)).astype(np.float32)
    return image, random.integers(3, size=(height, width)).astype(np.int32)


def outcomes(augment, image, mask, candidates):
    """How often each candidate was the outcome; every outcome must be one, the same for image and mask."""
    counts = [0] * len(candidates)
    for seed in SEEDS:
        new_image, target = augment(tf.constant(image), {"mask": tf.constant(mask)}, tf.constant([seed, 0]))
        found = [
            index
            for index, move in enumerate(candidates)
            if np.array_equal(new_image, move(image)) and np.array_equal(target["mask"], move(mask))
        ]
        assert len(found) == 1
        counts[found[0]] += 1
    return counts


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_flip_gives_the_four_mirrors_about_equally_often(channels):
    mirrors = [lambda x: x, np.flipud, np.fliplr, lambda x: np.flipud(np.fliplr(x))]
    counts = outcomes(build_flip(), *sample(13, 21, channels), mirrors)
    assert min(counts) >= 6  # 16 of 64 expected; below 6 has probability 1e-3


@pytest.mark.parametrize(
    "section, move", [({"vertical": False}, np.fliplr), ({"horizontal": False}, np.flipud)]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_flip_keeps_to_its_axis(section, move, channels):
    assert min(outcomes(build_flip(**section), *sample(13, 21, channels), [lambda x: x, move])) >= 16


def test_quarter_turn_of_a_square_gives_the_four_turns_about_equally_often():
    turns = [lambda x, k=k: np.rot90(x, k) for k in range(4)]
    assert min(outcomes(build_quarter_turn(), *sample(13, 13), turns)) >= 6


def test_quarter_turn_of_a_rectangle_gives_half_turns():
    turns = [lambda x, k=k: np.rot90(x, k) for k in (0, 2)]
    assert min(outcomes(build_quarter_turn(), *sample(13, 21), turns)) >= 16


@pytest.mark.parametrize("height, width", [(13, 21), (13, 13)])
def test_quarter_turn_draws_the_same_where_the_size_is_unknown(height, width):
    image, mask = sample(height, width)
    signature = [
        tf.TensorSpec((None, None, 2), tf.float32),
        tf.TensorSpec((None, None), tf.int32),
        tf.TensorSpec((2,), tf.int32),
    ]
    augment = build_quarter_turn()
    unknown = tf.function(lambda i, m, s: augment(i, {"mask": m}, s), input_signature=signature)
    for seed in range(8):
        expected = augment(tf.constant(image), {"mask": tf.constant(mask)}, tf.constant([seed, 0]))
        actual = unknown(image, mask, np.int32([seed, 0]))
        np.testing.assert_array_equal(actual[0], expected[0])
        np.testing.assert_array_equal(actual[1]["mask"], expected[1]["mask"])


def test_flip_and_quarter_turn_of_one_seed_are_independent():
    """Together they reach all eight positions of a square, though they are given the same seed."""
    image, mask = sample(13, 13)
    flip, turn = build_flip(), build_quarter_turn()
    turns = [lambda x, k=k: np.rot90(x, k) for k in range(4)]
    mirrored = [lambda x, k=k: np.rot90(np.fliplr(x), k) for k in range(4)]
    counts = outcomes(lambda i, t, s: turn(*flip(i, t, s), s), image, mask, [*turns, *mirrored])
    assert min(counts) >= 1


def test_intensity_is_linear_in_the_image_about_its_mean():
    image, mask = sample(13, 21)
    image = 0.4 + 0.2 * image  # far enough from 0 and 1 not to be clipped
    augment, shifts, factors = build_intensity(brightness=0.1, contrast=0.3), [], []
    for seed in SEEDS:
        new, target = augment(tf.constant(image), {"mask": tf.constant(mask)}, tf.constant([seed, 0]))
        new = new.numpy().astype(np.float64)
        shift = new.mean(axis=(0, 1)) - image.mean(axis=(0, 1))
        factor = new.std(axis=(0, 1)) / image.std(axis=(0, 1))
        assert np.ptp(shift) < 1e-5 and np.ptp(factor) < 1e-4  # one draw for all channels
        np.testing.assert_allclose(
            new, image.mean(axis=(0, 1)) * (1 - factor) + factor * image + shift, atol=1e-5
        )
        np.testing.assert_array_equal(target["mask"], mask)
        shifts.append(shift[0])
        factors.append(factor[0])
    assert -0.1 <= min(shifts) < -0.08 and 0.08 < max(shifts) <= 0.1
    assert 0.7 <= min(factors) < 0.75 and 1.25 < max(factors) <= 1.3
    assert abs(np.corrcoef(shifts, factors)[0, 1]) < 0.4  # of 64 independent pairs


def test_gamma_is_a_power_between_its_bounds():
    image, mask = sample(13, 21)
    augment, exponents = build_intensity(brightness=0.0, contrast=0.0, gamma=0.5), []
    for seed in SEEDS:
        new, _ = augment(tf.constant(image), {"mask": tf.constant(mask)}, tf.constant([seed, 0]))
        exponent = np.median(np.log(new.numpy()) / np.log(image))
        np.testing.assert_allclose(new, image**exponent, atol=1e-4)
        exponents.append(exponent)
    assert 1 / 1.5 - 1e-3 <= min(exponents) < 0.72 and 1.4 < max(exponents) <= 1.5 + 1e-3


@pytest.mark.parametrize(
    "build, section, message",
    [
        (build_flip, {"horizontal": False, "vertical": False}, "expected horizontal or vertical true"),
        (build_intensity, {"brightness": 1.5}, r"augment\.brightness: expected a number from 0 to 1"),
        (build_intensity, {"contrast": 1.0}, r"augment\.contrast: .* below 1"),
        (build_intensity, {"gamma": -0.5}, r"augment\.gamma: .* at least 0"),
    ],
)
def test_values_out_of_range_are_refused(build, section, message):
    with pytest.raises(SegframeError, match=message):
        build(**section)
