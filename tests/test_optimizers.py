"""Each optimizer's first updates against its formula in float64 NumPy, clipping, and what is refused."""

import keras
import numpy as np
import pytest

from segframe import SegframeError
from segframe.catalog import check
from segframe.manager import plugin_manager
from segframe.plugins.optimizers import build_adam, build_adamw, build_rmsprop, build_sgd

STEPS = 6
CONSTANT = {"name": "constant", "warmup_steps": 0, "final_fraction": 0.0, "power": 1.0}


@pytest.fixture
def gradients():
    return np.random.default_rng(0).normal(size=(STEPS, 3, 5)).astype(np.float32)


@pytest.fixture
def weights():
    return np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)


def updated(optimizer, weights, gradients):
    variable = keras.Variable(weights)
    for gradient in gradients:
        optimizer.apply([gradient], [variable])
    return variable.value.numpy()


def adam_by_definition(weights, gradients, learning_rate, beta_1, beta_2, epsilon, weight_decay=0.0):
    w, m, v = weights.astype(np.float64), 0.0, 0.0
    for t, g in enumerate(gradients.astype(np.float64), start=1):
        w = w - learning_rate * weight_decay * w
        m, v = beta_1 * m + (1 - beta_1) * g, beta_2 * v + (1 - beta_2) * g**2
        rate = learning_rate * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
        w = w - rate * m / (np.sqrt(v) + epsilon)
    return w


def sgd_by_definition(weights, gradients, learning_rate, momentum, nesterov):
    w, velocity = weights.astype(np.float64), 0.0
    for g in gradients.astype(np.float64):
        velocity = momentum * velocity - learning_rate * g
        w = w + (momentum * velocity - learning_rate * g if nesterov else velocity)
    return w


def rmsprop_by_definition(weights, gradients, learning_rate, rho, momentum, epsilon, centered):
    w, square, mean, velocity = weights.astype(np.float64), 0.0, 0.0, 0.0
    for g in gradients.astype(np.float64):
        square, mean = rho * square + (1 - rho) * g**2, rho * mean + (1 - rho) * g
        step = learning_rate * g / np.sqrt(square - (mean**2 if centered else 0) + epsilon)
        velocity = momentum * velocity + step
        w = w - velocity
    return w


@pytest.mark.parametrize(
    "build, by_definition, section",
    [
        (build_adam, adam_by_definition, {"beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-3}),
        (
            build_adamw,
            adam_by_definition,
            {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "weight_decay": 0.3},
        ),
        (build_sgd, sgd_by_definition, {"momentum": 0.0, "nesterov": False}),
        (build_sgd, sgd_by_definition, {"momentum": 0.9, "nesterov": False}),
        (build_sgd, sgd_by_definition, {"momentum": 0.9, "nesterov": True}),
        (
            build_rmsprop,
            rmsprop_by_definition,
            {"rho": 0.8, "momentum": 0.0, "epsilon": 1e-3, "centered": False},
        ),
        (
            build_rmsprop,
            rmsprop_by_definition,
            {"rho": 0.9, "momentum": 0.5, "epsilon": 1e-3, "centered": True},
        ),
    ],
)
def test_updates_are_the_formula(build, by_definition, section, weights, gradients):
    optimizer = build(total_steps=STEPS, learning_rate=0.1, **section)
    expected = by_definition(weights, gradients, learning_rate=0.1, **section)
    np.testing.assert_allclose(updated(optimizer, weights, gradients), expected, rtol=1e-4, atol=1e-6)


def test_clip_norm_bounds_the_norm_of_all_gradients_together(weights, gradients):
    one, two = keras.Variable(weights), keras.Variable(weights[0])
    optimizer = build_sgd(total_steps=STEPS, learning_rate=1.0, momentum=0.0, clip_norm=0.5)
    optimizer.apply([gradients[0], gradients[1, 0]], [one, two])
    norm = np.sqrt((gradients[0] ** 2).sum() + (gradients[1, 0] ** 2).sum())
    np.testing.assert_allclose(weights - one.value.numpy(), gradients[0] * 0.5 / norm, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(
        weights[0] - two.value.numpy(), gradients[1, 0] * 0.5 / norm, rtol=1e-3, atol=1e-6
    )


def test_clip_value_bounds_each_entry(weights, gradients):
    optimizer = build_sgd(total_steps=STEPS, learning_rate=1.0, momentum=0.0, clip_value=0.3)
    moved = weights - updated(optimizer, weights, gradients[:1])
    np.testing.assert_allclose(moved, np.clip(gradients[0], -0.3, 0.3), rtol=1e-3, atol=1e-6)


def test_without_a_schedule_the_learning_rate_is_a_variable():
    optimizer = build_adam(total_steps=STEPS)
    optimizer.learning_rate = 0.25
    assert float(optimizer.learning_rate) == 0.25


@pytest.mark.parametrize(
    "build, section, message",
    [
        (
            build_adam,
            {"learning_rate": 0.0},
            r"optimizer\.learning_rate: expected a number above 0, got 0\.0",
        ),
        (build_adam, {"beta_1": 1.0}, r"optimizer\.beta_1: expected a number from 0 to below 1"),
        (build_adam, {"beta_2": -0.1}, r"optimizer\.beta_2"),
        (build_adam, {"epsilon": 0.0}, r"optimizer\.epsilon"),
        (build_adamw, {"weight_decay": -1.0}, r"optimizer\.weight_decay: expected a number of at least 0"),
        (build_rmsprop, {"rho": 1.0}, r"optimizer\.rho"),
        (build_rmsprop, {"momentum": 1.0}, r"optimizer\.momentum"),
        (build_sgd, {"learning_rate": float("nan")}, r"optimizer\.learning_rate: .* got nan"),
        (build_sgd, {"momentum": 1.5}, r"optimizer\.momentum"),
        (build_sgd, {"momentum": 0.0, "nesterov": True}, r"optimizer\.nesterov: expected false"),
        (build_sgd, {"clip_norm": 0.0}, r"optimizer\.clip_norm: expected a number above 0"),
        (build_sgd, {"clip_norm": 1.0, "clip_value": 1.0}, r"optimizer\.clip_value: expected null where"),
        (
            build_sgd,
            {"schedule": {**CONSTANT, "name": "one_cycle"}},
            r"schedule\.warmup_steps: expected 1 or more with one_cycle.*, got 0\.\n  Give 2, ",
        ),
        (
            build_sgd,
            {"schedule": {**CONSTANT, "warmup_steps": STEPS}},
            r"fewer than the run's 6 steps, got 6",
        ),
        (build_sgd, {"schedule": {**CONSTANT, "warmup_steps": -1}}, r"schedule\.warmup_steps: .* at least 0"),
        (build_sgd, {"schedule": {**CONSTANT, "final_fraction": 1.1}}, r"schedule\.final_fraction: .* to 1"),
        (build_sgd, {"schedule": {**CONSTANT, "power": 0.0}}, r"schedule\.power: expected a number above 0"),
    ],
)
def test_values_out_of_range_are_refused(build, section, message):
    with pytest.raises(SegframeError, match=message):
        build(total_steps=STEPS, **section)


@pytest.mark.parametrize(
    "schedule, message",
    [
        ({**CONSTANT, "name": "cosin"}, r"optimizer\.schedule\.name: .*'cosin'"),
        ({**CONSTANT, "warmup": 3}, r"optimizer\.schedule\.warmup: expected one of the keys .*warmup_steps"),
        ({**CONSTANT, "warmup_steps": 1.5}, r"optimizer\.schedule\.warmup_steps"),
        ({"name": "constant"}, r"optimizer\.schedule.*: expected field required"),
    ],
)
def test_keys_and_types_of_the_schedule_are_checked(schedule, message):
    with pytest.raises(SegframeError, match=message):
        check(plugin_manager(), "optimizer", {"name": "adam", "schedule": schedule})
