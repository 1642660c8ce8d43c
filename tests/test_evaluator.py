"""segframe.evaluator: its scores are segframe.metrics of its predictions, without the padding."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from segframe.dataset import IGNORED, Sample
from segframe.evaluator import Evaluator
from segframe.metrics import confusion, image_scores, split_scores
from segframe.pipeline import Pipeline
from segframe.split import Part
from segframe.step import Steps, normalise

SIZES = [(13, 21), (8, 8), (1, 1), (16, 5), (7, 30)]
NAMES = ("background", "cell", "nucleus")


def valid_mean(target, logits):
    """(batch,) cross-entropy over valid pixels."""
    valid = tf.cast(target["mask"] != IGNORED, tf.float32)
    ids = tf.where(target["mask"] == IGNORED, 0, target["mask"])
    loss = keras.ops.sparse_categorical_crossentropy(ids, logits, from_logits=True)
    return tf.reduce_sum(loss * valid, (1, 2)) / tf.reduce_sum(valid, (1, 2))


@pytest.fixture
def evaluator():
    """Of an untrained network that looks at single pixels, so that padding cannot reach its predictions."""
    random = np.random.default_rng(5)
    samples = [
        Sample(
            random.integers(256, size=(*size, 2), dtype=np.uint8), random.integers(3, size=size, dtype="u1")
        )
        for size in SIZES
    ]
    samples[0].mask[2:5, 3:9] = IGNORED
    data = SimpleNamespace(
        image_shape=(16, 30, 2), class_names=NAMES, samples=samples,
        read=lambda split, indices: [samples[i] for i in indices],
    )  # fmt: skip
    part = Part("train", tuple(range(len(SIZES))), tuple(f"s{i}" for i in range(len(SIZES))))
    pipeline = Pipeline(data, {"train": part, "test": part}, batch_size=2, seed=0, size_multiple=4)
    keras.utils.set_random_seed(1)
    image = keras.Input((None, None, 2))
    x = keras.layers.Conv2D(8, 1, activation="relu")(image)
    model = keras.Model(image, keras.layers.Conv2D(3, 1, kernel_initializer="random_normal")(x))
    steps = Steps(
        model, valid_mean, keras.optimizers.SGD(), pipeline.normalisation,
        num_classes=3, scaled=False, xla=False,
    )  # fmt: skip
    return Evaluator(steps, pipeline)


def own_prediction(evaluator, sample):
    """The network on one image alone, without pipeline and padding."""
    image = normalise(tf.constant(sample.image[None]), evaluator.pipeline.normalisation)
    return evaluator.steps.model(image).numpy()[0]


def test_predictions_have_the_size_of_their_images_and_are_the_networks(evaluator):
    positions = [3, 0, 2]
    found = evaluator.predict("test", positions)
    for position, ids in zip(positions, found, strict=True):
        assert ids.shape == SIZES[position] and ids.dtype == np.uint8
        logits = own_prediction(evaluator, evaluator.pipeline.dataset.samples[position])
        np.testing.assert_array_equal(ids, logits.argmax(-1))


def test_scores_are_the_metrics_of_the_predictions_and_padding_is_not_scored(evaluator):
    samples = evaluator.pipeline.dataset.samples
    found = evaluator.score("test")
    predictions = [own_prediction(evaluator, sample).argmax(-1) for sample in samples]
    assert len(np.unique(np.concatenate([ids.ravel() for ids in predictions]))) > 1
    counts = np.stack([
        confusion(sample.mask, ids, 3) for sample, ids in zip(samples, predictions, strict=True)
    ])  # fmt: skip
    np.testing.assert_array_equal(found.counts, counts)
    # Every pixel that is not ignored is counted once: nothing of the padding is.
    np.testing.assert_array_equal(
        found.counts.sum((1, 2)), [np.sum(sample.mask != IGNORED) for sample in samples]
    )
    for key, value in split_scores(counts, NAMES).items():
        np.testing.assert_equal(found.scores[key], value)
    for key, values in image_scores(counts, NAMES).items():
        np.testing.assert_array_equal(found.per_image[key], values)


def test_the_loss_is_the_mean_over_images_not_over_batches(evaluator):
    samples = evaluator.pipeline.dataset.samples
    losses = [
        valid_mean({"mask": sample.mask[None].astype(np.int32)}, own_prediction(evaluator, sample)[None])[0]
        for sample in samples
    ]
    found = evaluator.score("test")
    np.testing.assert_allclose(found.per_image["loss"], losses, rtol=1e-5)
    assert found.scores["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert set(found.scores) == {"loss", *split_scores(found.counts, NAMES)}
