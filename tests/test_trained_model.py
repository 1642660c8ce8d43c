"""segframe.trained_model: raw images of any size, in the range of the run's, to logits and class ids."""

import logging

import keras
import numpy as np
import pytest

from segframe import SegframeError
from segframe.normalisation import Normalisation
from segframe.trained_model import MOST_SIZES, TrainedModel

MEAN, STD = (0.4, 0.1), (0.2, 0.5)


def trained(scale=1 / 255, outputs=3, multiple=4, xla=False, batch_size=2):
    """A network of 1x1 convolution at a quarter of the size: what is known can be computed by NumPy."""
    keras.utils.set_random_seed(2)
    layers = keras.layers
    image = keras.Input((None, None, 2))
    x = layers.UpSampling2D(multiple)(layers.MaxPooling2D(multiple)(image))
    model = keras.Model(image, layers.Conv2D(outputs, 1, name="last")(x))
    model.size_multiple = multiple
    return TrainedModel(
        model,
        Normalisation(scale, MEAN, STD, 0.0, 3.0),
        config={"train": {"batch_size": batch_size}},
        class_names=["a", "b", "c"][: max(2, outputs)],
        channels=2,
        versions={},
        xla=xla,
    )


def expected(model, images, scale=1 / 255, multiple=4):
    """The same in float64: normalise, pad by the edges, pool, enlarge, convolve, crop."""
    x = (images.astype(np.float64) * scale - MEAN) / STD
    (height, width), n = images.shape[1:3], multiple
    x = np.pad(x, [(0, 0), (0, -height % n), (0, -width % n), (0, 0)], mode="edge")
    pooled = x.reshape(len(x), x.shape[1] // n, n, x.shape[2] // n, n, 2).max((2, 4))
    x = pooled.repeat(n, 1).repeat(n, 2)[:, :height, :width]
    kernel, bias = (value.astype(np.float64) for value in model.network.get_layer("last").get_weights())
    logits = x @ kernel[0, 0] + bias
    return np.concatenate([np.zeros_like(logits), logits], -1) if logits.shape[-1] == 1 else logits


def images(size, count=3):
    return np.random.default_rng(sum(size)).integers(256, size=(count, *size, 2), dtype=np.uint8)


@pytest.mark.parametrize("xla", [False, True], ids=["plain", "xla"])
@pytest.mark.parametrize("outputs", [1, 3], ids=["sigmoid", "softmax"])
def test_logits_and_ids_of_images_of_any_size_are_what_numpy_computes(outputs, xla):
    model = trained(outputs=outputs, xla=xla)
    for size in [(13, 21), (1, 1), (16, 8)]:
        raw = images(size)
        logits, wanted = model(raw), expected(model, raw)
        assert logits.dtype == np.float32 and logits.shape == wanted.shape
        np.testing.assert_allclose(logits, wanted, rtol=1e-5, atol=1e-5)
        ids = model.predict(raw)
        assert ids.dtype == np.uint8
        np.testing.assert_array_equal(ids, logits.argmax(-1))


def test_numbers_that_stand_for_the_same_give_the_same():
    model, raw = trained(), images((5, 6))
    for dtype in (np.float32, np.float64, np.int32, np.uint16):
        np.testing.assert_array_equal(model(raw.astype(dtype)), model(raw))
    of_floats = trained(scale=1.0)
    np.testing.assert_allclose(of_floats(raw / 255), expected(of_floats, raw), rtol=1e-5, atol=1e-5)


def test_predicting_goes_by_the_runs_batch_size():
    model, raw, seen = trained(batch_size=2), images((4, 4), count=5), []
    plain = model._plain
    model._plain = lambda image: (seen.append(image.shape[0]), plain(image))[1]
    whole = model.predict(raw)
    assert seen == [2, 1]  # traced for these numbers of images
    np.testing.assert_array_equal(model.predict(raw, batch_size=5), whole)
    assert seen == [2, 1, 5]
    assert model.predict(raw[:0]).shape == (0, 4, 4) and model(raw[:0]).shape == (0, 4, 4, 3)
    with pytest.raises(SegframeError, match="batch_size: expected >= 1, got 0"):
        model.predict(raw, batch_size=0)


def test_what_came_before_changes_no_bit_and_many_sizes_share_a_graph(caplog):
    caplog.set_level(logging.INFO, "segframe")
    model = trained(multiple=1)
    first = images((9, 7))
    before = model(first)
    for height in range(1, MOST_SIZES + 3):
        found = model(images((height, 5), count=1))
        np.testing.assert_allclose(
            found, expected(model, images((height, 5), count=1), multiple=1), rtol=1e-5, atol=1e-5
        )
    assert model(first).tobytes() == before.tobytes()
    assert caplog.text.count(f"more than {MOST_SIZES} sizes") == 1
    assert len(model._graphs) == MOST_SIZES + 1


@pytest.mark.parametrize(
    "given, scale, message",
    [
        (np.zeros((4, 4, 2), np.uint8), 1 / 255, r"\(batch, height, width, 2\), got \(4, 4, 2\)"),
        (np.zeros((1, 4, 4, 3), np.uint8), 1 / 255, r"got \(1, 4, 4, 3\)"),
        (np.zeros((1, 0, 4, 2), np.uint8), 1 / 255, r"got \(1, 0, 4, 2\)"),
        (np.full((1, 4, 4, 2), 0.5), 1 / 255, "0 to 255.*got float64 of 0.5 to 0.5.\n  Multiply by 255"),
        (np.full((1, 4, 4, 2), 300), 1 / 255, "0 to 255.*got int64 of 300 to 300"),
        (np.full((1, 4, 4, 2), -1.0), 1 / 255, "0 to 255.*got float64 of -1 to -1"),
        (np.full((1, 4, 4, 2), np.nan), 1 / 255, "finite numbers, got values that are NaN"),
        (np.full((1, 4, 4, 2), "x"), 1 / 255, "finite numbers, got <U1"),
        (np.zeros((1, 4, 4, 2), np.uint8), 1.0, "floats: the run's were float32, 0 to 3, got uint8"),
    ],
    ids=["axes", "channels", "no pixels", "scaled", "too large", "negative", "nan", "text", "uint8"],
)  # fmt: skip
def test_images_unlike_the_runs_are_refused(given, scale, message):
    with pytest.raises(SegframeError, match="(?s)images: expected.*" + message):
        trained(scale=scale)(given)
