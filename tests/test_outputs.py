"""segframe.outputs: a model with several outputs is trained on all of them and is otherwise its first one."""

import os
import signal
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from segframe import SegframeError, checkpoint, hookimpl
from segframe.experiment import run_experiment
from segframe.interrupt import Interrupted
from segframe.normalisation import Normalisation
from segframe.outputs import check_outputs, output_weights, predictor
from segframe.record import Record
from segframe.step import Steps, normalise, two_classes

BY = Normalisation(1 / 255, (0.4, 0.1), (0.2, 0.5))
WEIGHTS = (1.0, 0.5)
TIMINGS = ("images_per_second", "data_wait", "train_seconds")


def network(channels=2, classes=2, *, weights=WEIGHTS, factor=2, sizes=2):
    """Pools once; the second output comes from the small map, `factor` times as large again."""
    layers = keras.layers
    image = keras.Input((None, None, channels))
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="shared")(image)
    small = layers.MaxPooling2D()(x)
    both = layers.Concatenate()([x, layers.UpSampling2D()(small)])
    first = layers.Conv2D(classes, 1, dtype="float32", name="logits")(both)
    second = layers.Conv2D(classes, 1, dtype="float32", name="logits_aux1")(small)
    outputs = [first, layers.UpSampling2D(factor, dtype="float32", name="aux1_full")(second)][:sizes]
    model = keras.Model(image, outputs)
    model.size_multiple = 2
    if weights is not None:
        model.output_weights = weights
    return model


def loss(target, logits):
    """(batch,) cross-entropy by Keras."""
    per_pixel = keras.ops.sparse_categorical_crossentropy(target["mask"], logits, from_logits=True)
    return tf.reduce_mean(per_pixel, axis=(1, 2))


@pytest.fixture
def batch():
    random = np.random.default_rng(0)
    mask = random.integers(2, size=(3, 12, 22)).astype(np.int32)
    image = random.integers(60, size=(*mask.shape, 2))
    image[..., 0] += 150 * mask
    return tf.constant(image.astype(np.uint8)), {"mask": tf.constant(mask)}


@pytest.fixture(autouse=True)
def float32_again():
    yield
    keras.config.set_dtype_policy("float32")


def steps(*, xla=False, classes=2, wrap=lambda optimizer: optimizer, rate=0.1, **options):
    keras.utils.set_random_seed(3)
    model = network(classes=classes, **options)
    optimizer = wrap(keras.optimizers.SGD(rate))
    optimizer.build(model.trainable_variables)
    return Steps(model, loss, optimizer, BY, num_classes=2, scaled=False, xla=xla)


@pytest.mark.parametrize("xla", [False, True], ids=["plain", "xla"])
@pytest.mark.parametrize("classes", [1, 2], ids=["sigmoid", "softmax"])
def test_a_step_goes_down_the_gradient_of_the_weighted_mean_of_the_losses(batch, classes, xla):
    made = steps(classes=classes, xla=xla)
    variables = made.model.trainable_variables
    with tf.GradientTape() as tape:
        first, second = made.model(normalise(batch[0], BY), training=True)
        each = [loss(batch[1], two_classes(logits, 2)) for logits in (first, second)]
        expected = (1.0 * each[0] + 0.5 * each[1]) / 1.5
        mean = tf.reduce_mean(expected)
    gradients = tape.gradient(mean, [variable.value for variable in variables])
    before = [variable.numpy() for variable in variables]
    found, per_image = made.train(*batch)
    np.testing.assert_allclose(per_image, expected, rtol=1e-5)
    assert float(found) == pytest.approx(float(mean), rel=1e-5)
    for variable, value, gradient in zip(variables, before, gradients, strict=True):
        assert np.abs(gradient).max() > 0
        np.testing.assert_allclose(variable.numpy(), value - 0.1 * gradient, rtol=1e-4, atol=1e-6)


def test_evaluation_takes_the_first_output_and_needs_no_other(batch):
    made = steps()
    logits = made.model(normalise(batch[0], BY), training=False)[0]
    found, predicted = made.evaluate(*batch)
    np.testing.assert_allclose(found, loss(batch[1], logits), rtol=1e-5)
    np.testing.assert_array_equal(predicted, logits.numpy().argmax(-1))
    for variable in made.model.get_layer("logits_aux1").variables:
        variable.assign(np.full(variable.shape, np.nan))
    np.testing.assert_array_equal(made.evaluate(*batch)[0], found)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_learns(batch, policy):
    keras.config.set_dtype_policy(policy)
    scale = keras.optimizers.LossScaleOptimizer if policy == "mixed_float16" else (lambda x: x)
    made = steps(wrap=scale, rate=0.5)
    before, _ = made.evaluate(*batch)
    for _ in range(40):
        mean, _ = made.train(*batch)
    after, _ = made.evaluate(*batch)
    assert np.isfinite(float(mean)) and (after.numpy() < 0.6 * before.numpy()).all()


def test_a_model_with_one_output_is_its_own_predictor():
    model = network(weights=None, sizes=1)
    assert output_weights(model) == (1.0,) and predictor(model) is model


def test_a_model_that_returns_a_list_of_one_output_trains_and_predicts(batch):
    made = steps(weights=None, sizes=1)
    before, predicted = made.evaluate(*batch)
    assert predicted.shape == (3, 12, 22)
    _, per_image = made.train(*batch)
    np.testing.assert_allclose(per_image, before, rtol=1e-5)


def test_the_predictor_shares_the_weights_and_has_only_those_of_the_first_output():
    model = network()
    names = [variable.path for variable in predictor(model).variables]
    assert names == [variable.path for variable in model.variables if "aux" not in variable.path]
    assert all(any(one is other for other in model.variables) for one in predictor(model).variables)


@pytest.mark.parametrize(
    "weights", [None, (1.0,), (1.0, 0.0), (1.0, float("nan")), "ab", (True, 1.0)], ids=str
)
def test_several_outputs_without_a_number_above_0_for_each_are_the_plugins_fault(weights):
    message = "model 'x': expected an attribute output_weights .* each of its 2 outputs, got .*\n.*Its plugin"
    with pytest.raises(SegframeError, match=message):
        check_outputs(network(weights=weights), "model 'x'", image_shape=(8, 8, 2), num_classes=2)


@pytest.mark.parametrize("options, got", [({"factor": 1}, r"\(1, 4, 4, 2\)"), ({"classes": 3}, r"8, 3\)")])
def test_an_output_of_another_size_or_other_classes_is_refused(options, got):
    with pytest.raises(
        SegframeError, match=rf"model 'x', output \d .*expected \(1, 8, 8, 2 or 1\).*got .*{got}"
    ):
        check_outputs(network(**options), "model 'x'", image_shape=(8, 8, 2), num_classes=2)


class Deep:
    """A plugin with the network above, which stops a run at a step if it is told to."""

    stop_at = None

    @hookimpl
    def segframe_models(self):
        return {"deep": build_deep}

    @hookimpl
    def segframe_callbacks(self, run):
        return [self]

    def on_step(self, step, logs):
        if step == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)


def build_deep(*, image_shape, num_classes, head: str = "softmax"):
    return network(image_shape[2], num_classes if head == "softmax" else 1)


def fingerprint(out_dir):
    arrays, state = checkpoint.load(Path(out_dir) / "checkpoint.h5")
    bits = {kind: [value.tobytes() for value in values] for kind, values in arrays.items()}
    return bits, [{key: v for key, v in entry.items() if key not in TIMINGS} for entry in state["history"]]


@pytest.mark.parametrize("head", ["softmax", pytest.param("sigmoid", marks=pytest.mark.slow)])
def test_a_run_on_images_of_odd_sizes_resumes_exactly_and_exports_one_output(plugins, config, tmp_path, head):
    """squares are of 17 x 23 pixels, so that what is padded must be cropped."""
    deep = Deep()
    plugins.register(deep)

    def made(name):
        return config("train.epochs=3", "optimizer.learning_rate=0.02", f"runs_dir='{tmp_path}/{name}'") | {
            "model": {"name": "deep", "head": head}
        }

    whole = run_experiment(plugins, made("whole"))
    deep.stop_at = 4
    with pytest.raises(Interrupted):
        run_experiment(plugins, made("stopped"))
    deep.stop_at = None
    again = run_experiment(plugins, made("stopped"))
    assert fingerprint(again.out_dir) == fingerprint(whole.out_dir) and again.scores == whole.scores

    history = Record(Path(whole.out_dir)).read("history.json")
    assert history[-1]["train/loss"] < history[0]["train/loss"]
    loaded = tf.saved_model.load(str(Path(whole.out_dir) / "saved_model"))
    logits = loaded.serve(tf.zeros((2, 13, 7, 1)))
    assert logits.shape == (2, 13, 7, 2)
    assert not any("aux" in variable.name for variable in loaded.variables)
