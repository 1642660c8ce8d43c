"""Noise, blur and cut-outs: against SciPy in float64, and by statistics with fixed seeds."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import gaussian_filter
from scipy.stats import kstest

from segframe import SegframeError
from segframe.dataset import IGNORED
from segframe.plugins.augmentations import build_blur, build_cutout, build_noise
from segframe.plugins.image_transforms import stream

SIZES = [(13, 21), (16, 16), (1, 7), (3, 2), (1, 1)]


def sample(height, width, channels=2):
    random = np.random.default_rng(0)
    image = (0.4 + 0.2 * random.random((height, width, channels))).astype(np.float32)
    return image, random.integers(3, size=(height, width)).astype(np.int32)


def applied(augment, image, mask, seed):
    moved, target = augment(tf.constant(image), {"mask": tf.constant(mask)}, tf.constant([seed, 5]))
    return moved.numpy(), target["mask"].numpy()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("low, high", [(0.5, 1.0), (2.0, 2.0), (0.1, 6.0)])
def test_blur_is_scipys_of_a_sigma_between_its_bounds(size, low, high):
    """Also where the image is smaller than the kernel."""
    image, mask = sample(*size)
    augment = build_blur(sigma_min_px=low, sigma_max_px=high)
    for seed in range(4):
        found, ids = applied(augment, image, mask, seed)
        drawn = tf.random.stateless_uniform(
            (), stream(tf.constant([seed, 5]), "blur"), low, high, alg="philox"
        )
        assert low <= drawn <= high
        expected = gaussian_filter(
            image.astype(np.float64), float(drawn), mode="reflect", radius=augment.radius, axes=(0, 1)
        )
        np.testing.assert_allclose(found, expected, atol=2e-6)
        np.testing.assert_array_equal(ids, mask)


def test_noise_is_normal_of_a_standard_deviation_up_to_its_largest():
    image, mask = np.full((40, 50, 2), 0.5, np.float32), np.zeros((40, 50), np.int32)
    augment, stds = build_noise(std=0.05), []
    for seed in range(40):
        found, ids = applied(augment, image, mask, seed)
        noise = (found - image).ravel().astype(np.float64)
        stds.append(noise.std())
        # Of right ones one seed in a million fails; these seeds are fixed.
        assert kstest(noise / noise.std(), "norm").pvalue > 1e-6
        assert abs(np.corrcoef(found[..., 0].ravel(), found[..., 1].ravel())[0, 1]) < 5 / 2000**0.5
        np.testing.assert_array_equal(ids, mask)
    assert kstest(stds, "uniform", args=(0, 0.05)).pvalue > 1e-6 and max(stds) < 0.0525


def holes(augment, size, seed):
    """Where the image is another one; the mask is unknown there, and nowhere else."""
    image, mask = sample(*size)
    found, ids = applied(augment, image, mask, seed)
    hidden = (found != image).any(-1)
    np.testing.assert_allclose(found[hidden], np.tile(image.mean((0, 1)), (hidden.sum(), 1)), rtol=1e-5)
    np.testing.assert_array_equal(ids, np.where(hidden, IGNORED, mask))
    return hidden


def test_a_cutout_is_one_rectangle_of_at_most_its_share_anywhere_in_the_image():
    met, heights = np.zeros((40, 60)), []
    for seed in range(120):
        hidden = holes(build_cutout(size_share=0.5), (40, 60), seed)
        rows, columns = np.flatnonzero(hidden.any(1)), np.flatnonzero(hidden.any(0))
        assert hidden.sum() == len(rows) * len(columns)  # a rectangle, without gaps
        if len(rows):
            assert np.ptp(rows) + 1 == len(rows) <= 21 and np.ptp(columns) + 1 == len(columns) <= 31
            heights.append(len(rows))
        met += hidden
    assert max(heights) >= 18 and min(heights) <= 2
    # Expected 120/16 = 7.5 inside and a quarter of that in the corners, give or take 5 standard deviations.
    assert met[15:25, 20:40].max() < 22 and met[[0, 0, -1, -1], [0, -1, 0, -1]].sum() > 0


def test_several_holes_hide_more():
    one, three = (
        np.mean([holes(build_cutout(holes=n), (40, 60), seed).mean() for seed in range(30)]) for n in (1, 3)
    )
    assert 2 * one < three < 4 * one


def test_with_keep_the_mask_stays_and_with_ignore_maps_do():
    image, mask = sample(40, 60)
    seen = 0
    for seed in range(8):
        maps = np.stack([mask], -1).astype(np.float32)
        target = {"mask": tf.constant(mask), "maps": tf.constant(maps)}
        found, kept = build_cutout(mask="keep")(tf.constant(image), target, tf.constant([seed, 5]))
        np.testing.assert_array_equal(kept["mask"], mask)
        again, ignored = build_cutout(mask="ignore")(tf.constant(image), target, tf.constant([seed, 5]))
        np.testing.assert_array_equal(found, again)
        np.testing.assert_array_equal(ignored["maps"], maps)
        seen += int((ignored["mask"] == IGNORED).numpy().sum())
    assert seen > 100


@pytest.mark.parametrize("build", [build_noise, build_blur, build_cutout], ids=["noise", "blur", "cutout"])
def test_the_probability_is_the_share_that_is_changed_at_all(build):
    image, mask = sample(13, 21)
    assert all(np.array_equal(applied(build(probability=0.0), image, mask, s)[0], image) for s in range(4))
    half, always = build(probability=0.5), build(probability=1.0)
    changed = 0
    for seed in range(32):
        found, ids = applied(half, image, mask, seed)
        if not np.array_equal(found, image):
            changed += 1
            for one, other in zip((found, ids), applied(always, image, mask, seed), strict=True):
                np.testing.assert_array_equal(one, other)
    assert 5 <= changed <= 27  # 16 of 32 expected, a little less where a hole may be empty


@pytest.mark.parametrize(
    "build, section, message",
    [
        (build_noise, {"std": 1.5}, r"augment\.std: expected a number from 0 to 1, got 1.5"),
        (build_blur, {"sigma_min_px": 0.0}, r"augment\.sigma_min_px: .* above 0.* got 0.0 and 1.0"),
        (build_blur, {"sigma_min_px": 2.0}, r"augment\.sigma_min_px: .*, got 2.0 and 1.0"),
        (build_blur, {"sigma_max_px": 65.0}, r"at most 64, got 0.5 and 65"),
        (build_blur, {"sigma_max_px": float("nan")}, r"augment\.sigma_min_px"),
        (build_cutout, {"holes": 0}, r"augment\.holes: expected a number of at least 1, got 0"),
        (build_cutout, {"size_share": -0.1}, r"augment\.size_share: expected a number from 0 to 1"),
        (build_cutout, {"probability": 2.0}, r"augment\.probability: expected a number from 0 to 1"),
    ],
)
def test_values_out_of_range_are_refused(build, section, message):
    with pytest.raises(SegframeError, match=message):
        build(**section)
