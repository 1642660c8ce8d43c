"""segframe.norm_statistics: the formula, the exchange, and a run that is scored with it."""

import os
import signal
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from resuming import check_stopped_at, fingerprint

from segframe import SegframeError, checkpoint
from segframe.experiment import run_experiment
from segframe.interrupt import Interrupted
from segframe.norm_statistics import NormStatistics, needed, noises
from segframe.record import Record

EPSILON = 1e-3


@pytest.fixture
def model():
    keras.utils.set_random_seed(1)
    layers = keras.layers
    inner = keras.Sequential([keras.Input((5, 5, 3)), layers.Conv2D(4, 3), layers.BatchNormalization()])
    frozen = layers.BatchNormalization(trainable=False)
    return keras.Sequential(
        [
            keras.Input((7, 7, 2)),
            layers.Conv2D(3, 3),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.GaussianNoise(1.0),
            inner,
            frozen,
        ]
    )


@pytest.fixture
def batches():
    random = np.random.default_rng(0)
    return [tf.constant(random.normal(2, 3, (count, 7, 7, 2)).astype(np.float32)) for count in (3, 1, 4)]


def made(model, xla=False):
    def compiled(take_in):
        signature = [tf.TensorSpec((None, 7, 7, 2))]
        return tf.function(take_in, input_signature=signature, jit_compile=xla, autograph=False)

    return NormStatistics(model, lambda image: image / 2, compiled)


def by_hand(model, batches):
    """[mean, variance] of both normalisations in float64, of maps that keras's convolutions make."""
    first, _, _, _, inner, _ = model.layers
    sums, images = [0, 0, 0, 0], 0
    for batch in batches:
        count = batch.shape[0]
        x = first(batch / 2).numpy().astype(np.float64)
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        after = (x - mean) / np.sqrt(variance + EPSILON)  # scale 1, offset 0: not trained
        y = inner.layers[0](after.astype(np.float32)).numpy().astype(np.float64)
        found = [mean, variance, y.mean((0, 1, 2)), y.var((0, 1, 2))]
        sums = [total + count * value for total, value in zip(sums, found, strict=True)]
        images += count
    return [total / images for total in sums]


@pytest.mark.parametrize("xla", [False, True], ids=["graph", "xla"])
def test_they_are_the_formula_without_noise_whatever_was_there(model, batches, xla):
    statistics = made(model, xla)
    assert len(statistics.norms) == 2 and len(statistics.variables) == 4
    for variable in statistics.variables:
        variable.assign(variable + 100.0)
    statistics.recompute(batches)
    for found, expected in zip(statistics.variables, by_hand(model, batches), strict=True):
        np.testing.assert_allclose(found.numpy(), expected, rtol=2e-4, atol=2e-5)


def test_what_was_there_may_be_infinite(model, batches):
    statistics = made(model)
    for variable in statistics.variables:
        variable.assign(tf.fill(variable.shape, np.inf))
    statistics.recompute(batches)
    for found, expected in zip(statistics.variables, by_hand(model, batches), strict=True):
        np.testing.assert_allclose(found.numpy(), expected, rtol=2e-4, atol=2e-5)


def test_a_normalisation_that_is_called_twice_is_refused():
    shared = keras.layers.BatchNormalization(name="shared")
    image = keras.Input((7, 7, 2))
    statistics = made(keras.Model(image, shared(shared(image))))
    with pytest.raises(SegframeError, match=r"got shared 2 times[\s\S]*norm_statistics=running"):
        statistics.recompute([tf.zeros((1, 7, 7, 2))])
    assert "call" not in vars(shared) and shared.momentum == 0.99


class Counter(keras.layers.Layer):
    """Remembers how often it was trained."""

    def build(self, shape):
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, x, training=False):
        if training:
            self.count.assign_add(1.0)
        return x


def test_other_state_of_layers_stays_as_training_left_it(batches):
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((7, 7, 2)), layers.BatchNormalization(renorm=True), layers.RandomFlip(seed=1), Counter()]
    )
    statistics = made(model)
    before = [variable.numpy() for variable in model.variables]
    statistics.recompute(batches)
    changed = [
        variable.path.rsplit("/", 1)[-1]
        for variable, value in zip(model.variables, before, strict=True)
        if not np.array_equal(variable.numpy(), value)
    ]
    assert changed == ["moving_mean", "moving_variance"]


def test_of_one_batch_inference_is_training_without_noise(model, batches):
    statistics = made(model)
    statistics.recompute(batches[:1])
    inferred = model(batches[0] / 2, training=False).numpy()
    for layer, name in noises(model):
        setattr(layer, name, 0.0)
    np.testing.assert_allclose(inferred, model(batches[0] / 2, training=True), rtol=1e-4, atol=1e-4)


def test_scoring_leaves_no_trace_after_an_error_either(model, batches):
    statistics = made(model)
    before = [variable.numpy() for variable in model.weights]
    with pytest.raises(RuntimeError, match="on purpose"), statistics.in_place(batches):
        within = [variable.numpy() for variable in model.weights]
        raise RuntimeError("on purpose")
    changed = [not np.array_equal(one, other) for one, other in zip(within, before, strict=True)]
    assert sum(changed) == 4
    np.testing.assert_equal([variable.numpy() for variable in model.weights], before)
    assert [norm.momentum for norm in statistics.norms] == [0.99, 0.99]
    assert [getattr(layer, name) for layer, name in noises(model)] == [0.5, 1.0]
    noisy = [model(batches[0], training=True).numpy() for _ in range(2)]
    assert not np.array_equal(*noisy)


def test_when_they_are_taken_anew(model):
    layers = keras.layers
    calm = keras.Sequential([keras.Input((5, 5, 2)), layers.Conv2D(3, 3), layers.BatchNormalization()])
    without = keras.Sequential([keras.Input((5, 5, 2)), layers.Conv2D(3, 3), layers.Dropout(0.5)])
    assert needed("auto", model, averaged=False) == (True, "dropout")
    assert needed("auto", model, averaged=True) == (True, "dropout and train.weight_average")
    assert needed("auto", calm, averaged=True) == (True, "train.weight_average")
    assert needed("auto", calm, averaged=False)[0] is False
    assert needed("recomputed", calm, averaged=False)[0] is True
    assert needed("running", model, averaged=True)[0] is False
    assert needed("auto", without, averaged=True)[0] is False
    assert needed("recomputed", without, averaged=True) == (False, "the model has no batch normalisation")


def arrays(result, kind):
    return [value.tobytes() for value in checkpoint.load(Path(result.out_dir) / "checkpoint.h5")[0][kind]]


WORDS = ("optimizer=adam", "optimizer.learning_rate=0.05", "train.epochs=4", "train.score_test_at=[2]")


@pytest.mark.parametrize("val", ["auto", pytest.param("none", marks=pytest.mark.slow)])
def test_a_run_trains_as_without_it_and_is_scored_with_it(plugins, config, val, caplog):
    caplog.set_level("INFO")
    words = [*WORDS, f"split.val={val}"]
    running = run_experiment(plugins, config(*words, "train.norm_statistics=running"))
    assert "norm_statistics" not in caplog.text
    anew = run_experiment(plugins, config(*words))
    assert "train.norm_statistics=auto: taken anew over up to 200 training batches (dropout)" in caplog.text
    assert arrays(anew, "optimizer") == arrays(running, "optimizer")
    if val == "auto":  # the checkpoint is of before the chosen weights are loaded
        assert arrays(anew, "model") == arrays(running, "model")
        assert arrays(anew, "best") != arrays(running, "best")
    losses = [
        [entry["train/loss"] for entry in Record(Path(one.out_dir)).read("history.json")]
        for one in (anew, running)
    ]
    assert losses[0] == losses[1]
    assert anew.test_at["2"]["loss"] != running.test_at["2"]["loss"]
    assert anew.scores["test/loss"] != running.scores["test/loss"]


@pytest.mark.parametrize(
    "more",
    [
        pytest.param([], marks=pytest.mark.slow),
        ["train.weight_average=0.9", "train.steps_per_epoch=3", "split.val=none"],
    ],
)
def test_a_stopped_run_resumes_exactly(plugins, config, tmp_path, more):
    check_stopped_at(3, plugins, config(*WORDS, *more), tmp_path / "whole")


@pytest.mark.parametrize("val", ["auto", pytest.param("none", marks=pytest.mark.slow)])
def test_a_run_that_is_stopped_while_they_are_taken_resumes_exactly(
    plugins, config, tmp_path, monkeypatch, val
):
    words = [*WORDS, "train.weight_average=0.9", "train.batch_size=1", f"split.val={val}"]
    whole = run_experiment(plugins, config(*words, f"runs_dir='{tmp_path}/whole'"))
    taken = []
    recompute = NormStatistics.recompute

    def stopping(self, images):
        def until_stopped():
            for image in images:
                taken.append(image)
                yield image
                if len(taken) == 2:
                    os.kill(os.getpid(), signal.SIGTERM)

        recompute(self, until_stopped())

    monkeypatch.setattr(NormStatistics, "recompute", stopping)
    with pytest.raises(Interrupted):
        run_experiment(plugins, config(*words))
    assert len(taken) == 2
    again = run_experiment(plugins, config(*words))
    assert fingerprint(again.out_dir) == fingerprint(whole.out_dir)
