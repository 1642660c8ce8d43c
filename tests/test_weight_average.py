"""segframe.weight_average: the formula, the exchange, and a run that is scored with it."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from resuming import check_stopped_at

from segframe import SegframeError, checkpoint
from segframe.experiment import run_experiment
from segframe.record import Record
from segframe.weight_average import WeightAverage


@pytest.fixture
def model():
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Conv2D(3, 3), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)]
    return keras.Sequential([keras.Input((5, 5, 2)), *layers])


def values(variables):
    return [variable.numpy() for variable in variables]


@pytest.mark.parametrize("xla", [False, True], ids=["graph", "xla"])
def test_it_is_the_formula_in_float64(model, xla):
    average = WeightAverage(model, 0.7)
    update = tf.function(average.update, jit_compile=xla)
    wanted = [value.astype(np.float64) for value in values(average.weights)]
    assert len(wanted) == 2 + 4  # kernel, bias, and the normalisation's four; not the dropout's seed
    random = np.random.default_rng(0)
    for step in range(40):  # (1 + t) / (10 + t) passes 0.7 at the 20th
        for weight in average.weights:
            weight.assign(random.normal(size=weight.shape))
        update()
        kept = min(0.7, (1 + step) / (10 + step))
        wanted = [
            kept * old + (1 - kept) * new for old, new in zip(wanted, values(average.weights), strict=True)
        ]
    assert int(average.steps.numpy()) == 40
    for found, value in zip(values(average.averages), wanted, strict=True):
        np.testing.assert_allclose(found, value, atol=1e-6)


def test_the_model_has_the_averages_within_and_its_own_weights_after_an_error_too(model):
    average = WeightAverage(model, 0.5)
    for weight in average.weights:
        weight.assign(weight + 1.0)
    average.update()
    own, averaged = values(average.weights), values(average.averages)
    with pytest.raises(RuntimeError, match="on purpose"), average.in_place():
        np.testing.assert_equal(values(average.weights), averaged)
        raise RuntimeError("on purpose")
    np.testing.assert_equal(values(average.weights), own)
    np.testing.assert_equal(values(average.averages), averaged)
    average.adopt()
    np.testing.assert_equal(values(average.weights), averaged)


def arrays(result, kind):
    return [value.tobytes() for value in checkpoint.load(Path(result.out_dir) / "checkpoint.h5")[0][kind]]


WORDS = ("optimizer=adam", "optimizer.learning_rate=0.05", "train.epochs=4")


@pytest.mark.parametrize("val", ["auto", pytest.param("none", marks=pytest.mark.slow)])
def test_a_run_trains_as_without_it_and_is_scored_with_the_averages(plugins, config, tmp_path, val):
    words = [*WORDS, f"split.val={val}", "train.score_test_at=[2]"]
    without = run_experiment(plugins, config(*words))
    result = run_experiment(plugins, config(*words, "train.weight_average=0.9"))
    if val == "auto":  # the checkpoint is of before the weights are exchanged for the chosen ones
        assert arrays(result, "model") == arrays(without, "model")
    assert arrays(result, "optimizer") == arrays(without, "optimizer")
    assert arrays(without, "average") == [] and len(arrays(result, "average")) > 1
    losses = [
        [entry["train/loss"] for entry in Record(Path(one.out_dir)).read("history.json")]
        for one in (result, without)
    ]
    assert losses[0] == losses[1]
    assert result.test_at["2"]["loss"] != without.test_at["2"]["loss"]
    if val == "none":  # what is kept is what the checkpoint says that the average is
        assert result.scores["test/loss"] != without.scores["test/loss"]


@pytest.mark.slow
def test_a_stopped_run_resumes_exactly(plugins, config, tmp_path):
    made = config(*WORDS, "train.weight_average=0.9")
    check_stopped_at(3, plugins, made, tmp_path / "whole")


@pytest.mark.parametrize("value", [0, 1, 1.5])
def test_a_share_outside_of_0_to_1_is_refused(plugins, config, value):
    with pytest.raises(SegframeError, match=r"train\.weight_average"):
        run_experiment(plugins, config(f"train.weight_average={value}"))
