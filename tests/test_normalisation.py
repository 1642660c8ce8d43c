"""segframe.normalisation against NumPy over all pixels at once."""

from types import SimpleNamespace

import numpy as np
import pytest

from segframe.dataset import Sample, at_once
from segframe.normalisation import measure
from segframe.split import Part


def dataset(images):
    samples = [Sample(image, np.zeros(image.shape[:2], np.uint8)) for image in images]
    return SimpleNamespace(
        image_shape=images[0].shape, read=lambda split, indices: [samples[index] for index in indices]
    )


@pytest.mark.parametrize("dtype, scale", [(np.uint8, 1 / 255), (np.float32, 1.0)])
@pytest.mark.parametrize("pixels_at_a_time", [50, 2**22])
def test_mean_and_std_are_those_of_all_pixels(dtype, scale, pixels_at_a_time, monkeypatch):
    monkeypatch.setattr("segframe.normalisation.PIXELS", pixels_at_a_time)
    random = np.random.default_rng(0)
    images = [(random.random((size, size + 3, 2)) * 200).astype(dtype) for size in (5, 9, 14)]
    found = measure(dataset(images), Part("train", (0, 2), ("a", "c")))
    pixels = np.concatenate([images[0].reshape(-1, 2), images[2].reshape(-1, 2)]).astype(np.float64) * scale
    assert found.scale == scale
    np.testing.assert_allclose(found.mean, pixels.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.std, pixels.std(0), rtol=1e-9)
    assert (found.low, found.high) == (pixels.min(), pixels.max())


@pytest.mark.parametrize("side, together", [(256, 16), (2000, 8), (5000, 1), (20_000, 1)])
def test_large_samples_are_read_few_at_a_time(side, together):
    assert at_once(SimpleNamespace(image_shape=(side, side, 3))) == together


def test_a_constant_channel_is_divided_by_one():
    found = measure(dataset([np.full((4, 4, 1), 7, np.uint8)]), Part("train", (0,), ("a",)))
    assert found.std == (1.0,)
