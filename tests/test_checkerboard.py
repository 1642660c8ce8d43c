"""benchmarks/checkerboard.py: patterns whose share is known, its frequencies, networks with and without."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from checkerboard import measure, nyquist_share, period2_share

from segframe.catalog import build
from segframe.manager import plugin_manager

ROWS, COLUMNS = np.mgrid[:46, :64]


def two_classes(values):
    """(height, width) -> logits (height, width, 2) whose difference it is."""
    return np.stack([-values / 2, values / 2], -1)


@pytest.mark.parametrize("pattern", [(-1.0) ** (ROWS + COLUMNS), (-1.0) ** ROWS, (-1.0) ** COLUMNS])
@pytest.mark.parametrize("share", [period2_share, nyquist_share])
def test_a_pure_checkerboard_is_all_of_it(share, pattern):
    assert share(two_classes(3 + 5 * pattern)) == pytest.approx(1, abs=1e-4)  # a window is not quite closed


@pytest.mark.parametrize("share", [period2_share, nyquist_share])
def test_a_smooth_image_has_next_to_none(share):
    smooth = np.sin(2 * np.pi * ROWS / 46) + np.cos(2 * np.pi * (ROWS / 46 + COLUMNS / 32)) + ROWS / 20
    assert share(two_classes(smooth)) < 2e-3


@pytest.mark.parametrize("amount", [0.1, 0.5])
def test_the_share_is_the_part_of_the_variance(amount):
    wave = np.sqrt(2) * np.sin(2 * np.pi * COLUMNS / 32)  # variance 1, and no period of 2
    mixed = np.sqrt(1 - amount) * wave + np.sqrt(amount) * (-1.0) ** (ROWS + COLUMNS)
    assert period2_share(two_classes(mixed)) == pytest.approx(amount, rel=1e-12)


@pytest.mark.parametrize("classes", [2, 5])
def test_period2_share_is_the_energy_of_three_frequencies(classes):
    logits = np.random.default_rng(0).normal(size=(18, 30, classes))
    spectrum = np.abs(np.fft.fft2(logits - logits.mean(-1, keepdims=True), axes=(0, 1))) ** 2
    found = (spectrum[9, 0] + spectrum[0, 15] + spectrum[9, 15]).sum()
    expected = found / (spectrum.sum() - spectrum[0, 0].sum())
    assert period2_share(logits) == pytest.approx(expected, rel=1e-12)


def test_a_checkerboard_that_follows_the_image_is_seen_near_the_nyquist_frequency_only():
    following = np.sin(2 * np.pi * COLUMNS / 32) * (-1.0) ** (ROWS + COLUMNS)
    assert period2_share(two_classes(following)) < 1e-12
    assert nyquist_share(two_classes(following)) > 0.99


def test_what_all_classes_share_does_not_count():
    logits = np.random.default_rng(0).normal(size=(16, 16, 3))
    both = logits + 50 * ((-1.0) ** (ROWS + COLUMNS))[:16, :16, None]
    assert period2_share(both) == pytest.approx(period2_share(logits), rel=1e-9)


@pytest.mark.parametrize("share", [period2_share, nyquist_share])
def test_constant_logits_are_undefined(share):
    assert np.isnan(share(np.ones((8, 8, 2))))


@pytest.mark.bundled
@pytest.mark.parametrize("upsample, pattern", [("bilinear", False), ("nearest", False), ("transpose", True)])
def test_interpolation_draws_nothing_on_a_constant_image_and_a_transposed_convolution_does(upsample, pattern):
    keras.utils.set_random_seed(0)
    section = {"name": "unet", "depth": 2, "filters": 4, "upsample": upsample}
    model = build(plugin_manager(), "model", section, image_shape=(32, 32, 1), num_classes=2)
    serve = tf.function(lambda batch: model(batch / 255.0, training=False))
    images = np.random.default_rng(0).integers(256, size=(2, 32, 48, 1)).astype(np.uint8)
    numbers, shown = measure(serve, images, depth=2)
    assert numbers["constant_pattern"] > 1e-3 if pattern else numbers["constant_pattern"] < 1e-5
    assert shown["logits"].shape == (32, 48, 2) and shown["constant"].shape == (16, 16, 2)
    assert 0 < numbers["period2_share"] < numbers["nyquist_share"] < 1
