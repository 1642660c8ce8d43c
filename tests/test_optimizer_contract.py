"""What segframe_optimizers promises, checked for every optimizer that is installed."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from segframe.catalog import build, catalog
from segframe.manager import plugin_manager

PLUGINS = plugin_manager()
BUILDERS = catalog(PLUGINS, "optimizer")
TOTAL_STEPS = 12
SCHEDULES = {
    "constant": {"name": "constant", "warmup_steps": 0, "final_fraction": 0.0, "power": 1.0},
    "cosine": {"name": "cosine", "warmup_steps": 3, "final_fraction": 0.1, "power": 1.0},
    "polynomial": {"name": "polynomial", "warmup_steps": 2, "final_fraction": 0.0, "power": 0.9},
}


@pytest.fixture(params=sorted(BUILDERS))
def name(request):
    return request.param


@pytest.fixture
def weights():
    return np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)


def built(name, **section):
    return build(PLUGINS, "optimizer", {"name": name, **section}, total_steps=TOTAL_STEPS)


def gradient(step):
    return np.random.default_rng(step + 1).normal(size=(3, 5)).astype(np.float32)


def test_it_goes_downhill(name, weights):
    optimizer, variable = built(name), keras.Variable(weights)
    for _ in range(TOTAL_STEPS):
        optimizer.apply([2 * tf.convert_to_tensor(variable)], [variable])
    assert np.square(variable.value.numpy()).sum() < np.square(weights).sum()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_its_variables_are_all_of_its_state(name, weights, schedule):
    """Stopped after 5 steps and restored into a fresh one, it goes on bit for bit."""

    def step_of(optimizer, variable):
        optimizer.build([variable])
        return tf.function(lambda gradient: optimizer.apply([gradient], [variable]))

    section = {"schedule": SCHEDULES[schedule]}
    through, variable = built(name, **section), keras.Variable(weights)
    step = step_of(through, variable)
    for index in range(5):
        step(tf.constant(gradient(index)))
    state, at_five = (
        [value.value.numpy() for value in through.variables],
        variable.value.numpy(),
    )
    for index in range(5, TOTAL_STEPS):
        step(tf.constant(gradient(index)))

    again, restored = built(name, **section), keras.Variable(at_five)
    step = step_of(again, restored)
    for value, saved in zip(again.variables, state, strict=True):
        value.assign(saved)
    for index in range(5, TOTAL_STEPS):
        step(tf.constant(gradient(index)))
    assert restored.value.numpy().tobytes() == variable.value.numpy().tobytes()
    for value, expected in zip(again.variables, through.variables, strict=True):
        assert value.value.numpy().tobytes() == expected.value.numpy().tobytes()


@pytest.mark.parametrize("clip", [{"clip_norm": 1e-3}, {"clip_value": 1e-3}], ids=["norm", "value"])
def test_clipping_makes_a_large_gradient_and_a_larger_one_equal(name, weights, clip):
    ends = []
    for factor in (1e2, 1e5):
        optimizer, variable = built(name, **clip), keras.Variable(weights)
        optimizer.apply([factor * np.sign(gradient(0))], [variable])
        ends.append(variable.value.numpy())
    np.testing.assert_allclose(*ends, rtol=1e-5)


def test_it_survives_serialization(name):
    optimizer = built(name, schedule=SCHEDULES["cosine"])
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert keras.optimizers.serialize(again) == keras.optimizers.serialize(optimizer)
