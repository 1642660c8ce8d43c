"""segframe.step: the compiled steps train, predict the same with and without XLA, and know a sigmoid head."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from segframe.normalisation import Normalisation
from segframe.step import Steps, normalise, two_classes

BY = Normalisation(1 / 255, (0.4, 0.1), (0.2, 0.5))


@pytest.fixture
def batch():
    """Images of (3, 13, 21, 2) uint8 whose first channel tells the class."""
    random = np.random.default_rng(0)
    mask = random.integers(2, size=(3, 13, 21)).astype(np.int32)
    image = random.integers(60, size=(*mask.shape, 2))
    image[..., 0] += 150 * mask
    return tf.constant(image.astype(np.uint8)), {"mask": tf.constant(mask)}


def cross_entropy(target, logits):
    """(batch,) by Keras, for two softmax logits or more."""
    per_pixel = keras.ops.sparse_categorical_crossentropy(target["mask"], logits, from_logits=True)
    return tf.reduce_mean(per_pixel, axis=(1, 2))


def steps(outputs=2, *, xla=False, scaled=False, penalty=0.0, learning_rate=0.05, **more):
    keras.utils.set_random_seed(3)
    image = keras.Input((None, None, 2))
    regularizer = keras.regularizers.L2(penalty) if penalty else None
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", kernel_regularizer=regularizer)(image)
    model = keras.Model(image, keras.layers.Conv2D(outputs, 1, dtype="float32")(x))
    optimizer = keras.optimizers.SGD(learning_rate)
    optimizer.build(model.trainable_variables)
    return Steps(model, cross_entropy, optimizer, BY, num_classes=2, scaled=scaled, xla=xla, **more)


def test_normalise_scales_then_centres_each_channel():
    raw = np.random.default_rng(0).integers(256, size=(2, 5, 3, 2)).astype(np.uint8)
    expected = (raw.astype(np.float64) / 255 - [0.4, 0.1]) / [0.2, 0.5]
    found = normalise(tf.constant(raw), BY)
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)  # float32 of numbers up to 3
    scaled = normalise(tf.constant(raw / 255, tf.float32), BY, scaled=True)
    np.testing.assert_allclose(scaled, expected, atol=1e-5)


def test_one_sigmoid_logit_becomes_two_softmax_logits_of_the_same_probability():
    logits = tf.constant(np.random.default_rng(0).normal(scale=4, size=(2, 5, 3, 1)), tf.float32)
    both = two_classes(logits, 2)
    assert both.shape == (2, 5, 3, 2)
    np.testing.assert_allclose(tf.nn.softmax(both)[..., 1:], tf.sigmoid(logits), rtol=1e-5)
    assert two_classes(both, 2) is both and two_classes(logits, 3) is logits


@pytest.mark.parametrize("outputs", [1, 2], ids=["sigmoid", "softmax"])
def test_steps_lower_the_loss_that_evaluate_reports(batch, outputs):
    made = steps(outputs)
    before, _ = made.evaluate(*batch)
    for _ in range(60):
        mean, per_image = made.train(*batch)
    after, predicted = made.evaluate(*batch)
    assert (after.numpy() < 0.5 * before.numpy()).all()
    assert per_image.shape == (3,) and float(mean) == pytest.approx(per_image.numpy().mean(), rel=1e-6)
    assert predicted.dtype == tf.uint8 and predicted.shape == (3, 13, 21)
    assert np.mean(predicted.numpy() == batch[1]["mask"].numpy()) > 0.9


def test_evaluate_is_loss_and_argmax_of_the_logits_and_changes_nothing(batch):
    made = steps()
    weights = [value.numpy() for value in made.model.weights]
    loss, predicted = made.evaluate(*batch)
    logits = made.model(normalise(batch[0], BY)).numpy()
    np.testing.assert_allclose(loss, cross_entropy(batch[1], logits), rtol=1e-5)
    np.testing.assert_array_equal(predicted, logits.argmax(-1))
    for value, before in zip(made.model.weights, weights, strict=True):
        np.testing.assert_array_equal(value, before)


def test_xla_gives_the_same_steps_and_predictions(batch):
    with_xla, without = steps(xla=True), steps(xla=False)
    for _ in range(3):
        np.testing.assert_allclose(with_xla.train(*batch)[1], without.train(*batch)[1], rtol=1e-5)
    for one, other in zip(with_xla.model.weights, without.model.weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)  # float32 sums in another order
    np.testing.assert_allclose(with_xla.evaluate(*batch)[0], without.evaluate(*batch)[0], rtol=1e-4)


def test_augmented_images_are_scaled_already_in_training_and_raw_in_evaluation(batch):
    image, target = batch
    plain, augmented = steps(), steps(scaled=True)
    scaled = tf.cast(image, tf.float32) * BY.scale
    np.testing.assert_allclose(augmented.train(scaled, target)[1], plain.train(image, target)[1], rtol=1e-5)
    evaluated = [made.evaluate(image, target)[0] for made in (augmented, plain)]
    np.testing.assert_allclose(*evaluated, rtol=1e-5)


def test_a_layers_weight_penalty_is_part_of_the_loss_that_is_minimised(batch):
    made = steps(penalty=0.5)
    (kernel,) = [weight for weight in made.model.weights if weight.shape == (3, 3, 2, 4)]
    penalty = 0.5 * float(np.square(kernel.numpy()).sum())
    mean, per_image = made.train(*batch)
    assert float(mean) == pytest.approx(per_image.numpy().mean() + penalty, rel=1e-5)


def test_source_edited_during_a_run_changes_nothing(batch, tmp_path, monkeypatch):
    """AutoGraph would take the lines where the loss stood when it was imported: the other function's."""
    first = "def loss(target, logits):\n    return logits[:, 0, 0, 0] * 0 + 1\n"
    second = "def other(target, logits):\n    return logits[:, 0, 0, 0] * 0 + 2\n"
    (tmp_path / "edited_loss.py").write_text(first + "\n\n" + second)
    monkeypatch.syspath_prepend(tmp_path)
    import edited_loss

    (tmp_path / "edited_loss.py").write_text(second + "\n\n" + first)
    made = steps()
    made.loss = edited_loss.loss
    np.testing.assert_array_equal(made.evaluate(*batch)[0], [1, 1, 1])


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (4, 3, 2, 1, 0)])
def test_the_graph_of_a_batch_depends_on_its_own_shape_alone(order):
    """On how many images, and whether they are of the largest size; not on what came before."""
    made, traced = steps(full_size=(8, 12)), []

    def loss(target, logits):
        traced.append(tuple(target["mask"].shape))
        return cross_entropy(target, logits)

    made.loss = loss
    sizes = [(2, 8, 12), (2, 4, 12), (2, 8, 4), (1, 8, 12), (1, 3, 3)]
    for number in order:
        mask = tf.zeros(sizes[number], tf.int32)
        per_image, ids = made.evaluate(tf.zeros((*sizes[number], 2), tf.uint8), {"mask": mask})
        assert per_image.shape == sizes[number][:1] and ids.shape == sizes[number]
    assert len(traced) == 4
    assert set(traced) == {(2, 8, 12), (2, None, None), (1, 8, 12), (1, None, None)}
