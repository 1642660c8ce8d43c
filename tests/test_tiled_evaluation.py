"""segframe.tiled_evaluation: scores by tiles are those of whole images where no tile's edge is seen."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from segframe.dataset import IGNORED, Sample
from segframe.evaluator import Evaluator
from segframe.patches import Patches
from segframe.pipeline import Pipeline
from segframe.sliding_window import starts
from segframe.split import Part
from segframe.step import Steps

SIZES = [(40, 61), (8, 8), (1, 1), (16, 5), (7, 90)]


def valid_mean(target, logits):
    valid = tf.cast(target["mask"] != IGNORED, tf.float32)
    ids = tf.where(target["mask"] == IGNORED, 0, target["mask"])
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(ids, logits) * target["weight"][..., 0]
    return tf.reduce_sum(loss * valid, (1, 2)) / tf.maximum(tf.reduce_sum(valid, (1, 2)), 1.0)


class Weight:
    channels, dtype, padding = 1, "float32", 1e6

    def make(self, mask):
        return (1 + np.indices(mask.shape).sum(0, keepdims=True)).transpose(1, 2, 0).astype(np.float32)


def evaluators(kernel_size):
    """Two of one untrained network: by tiles of 16 x 24, and whole."""
    random = np.random.default_rng(5)
    samples = [
        Sample(random.integers(256, size=(*size, 2), dtype="u1"), random.integers(3, size=size, dtype="u1"))
        for size in SIZES
    ]
    samples[0].mask[2:5, 3:9] = IGNORED
    samples[1].mask[:] = 0
    data = SimpleNamespace(
        image_shape=(40, 90, 2), class_names=("background", "cell", "nucleus"), samples=samples,
        read=lambda split, indices: [samples[i] for i in indices],
    )  # fmt: skip
    part = Part("train", tuple(range(len(SIZES))), tuple(f"s{i}" for i in range(len(SIZES))))
    keras.utils.set_random_seed(1)
    image = keras.Input((None, None, 2))
    kernel = {"kernel_size": kernel_size, "padding": "same", "kernel_initializer": "random_normal"}
    model = keras.Model(image, keras.layers.Conv2D(3, **kernel)(image))
    patches = Patches(size=(16, 24), per_image=1, foreground_share=0.33, overlap=0.5, classes=(1, 2))
    found = []
    for chosen in (patches, None):
        batches = Pipeline(data, {"train": part, "test": part}, batch_size=3 if chosen else 1, seed=0,
                           size_multiple=4, maps={"weight": Weight()}, patches=chosen)  # fmt: skip
        steps = Steps(model, valid_mean, keras.optimizers.SGD(), batches.normalisation, num_classes=3,
                      scaled=False, xla=False, full_size=batches.full_size)  # fmt: skip
        found.append(Evaluator(steps, batches))
    return found


@pytest.mark.parametrize("sees", [1, 3])
def test_scores_by_tiles_are_those_of_whole_images(sees):
    tiled, whole = evaluators(sees)
    one, other = tiled.score("test"), whole.score("test")
    for position, (ids, expected) in enumerate(
        zip(tiled.predict("test", range(5)), whole.predict("test", range(5)), strict=True)
    ):
        assert ids.shape == SIZES[position] and ids.dtype == np.uint8
        # A net of 3 x 3 is wrong at a tile's edge alone, where another tile has its middle.
        assert np.mean(ids == expected) >= (1.0 if sees == 1 else 0.99)
    if sees == 1:
        np.testing.assert_array_equal(one.counts, other.counts)
        assert {k: v for k, v in one.scores.items() if k != "loss"} == pytest.approx(
            {k: v for k, v in other.scores.items() if k != "loss"}, nan_ok=True
        )
    # An image that is no larger than a tile is one: its loss is the image's own.
    small = [1, 2, 3]
    np.testing.assert_allclose(one.per_image["loss"][small], other.per_image["loss"][small], rtol=1e-5)


def test_the_loss_by_tiles_is_the_mean_over_them_each_with_its_mask_and_map():
    tiled, _ = evaluators(1)
    sample = tiled.pipeline.dataset.samples[0]
    padded = np.pad(sample.image, ((0, 0), (0, 3), (0, 0)), mode="edge")
    mask = np.pad(sample.mask, ((0, 0), (0, 3)), constant_values=IGNORED)
    weight = np.pad(Weight().make(sample.mask)[..., 0], ((0, 0), (0, 3)), constant_values=1)
    logits = tiled.steps.logits(padded[None]).numpy()[0].astype(np.float64)
    logits -= logits.max(-1, keepdims=True)
    logp = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    valid = mask != IGNORED
    costs = -np.take_along_axis(logp, np.where(valid, mask, 0)[..., None].astype(int), -1)[..., 0] * weight
    losses = []
    for top in starts(40, 16, 0.5, 4):
        for left in starts(64, 24, 0.5, 4):
            at = np.s_[top : top + 16, left : left + 24]
            losses.append((costs * valid)[at].sum() / max(valid[at].sum(), 1))
    assert tiled.score("test").per_image["loss"][0] == pytest.approx(np.mean(losses), rel=1e-5)
