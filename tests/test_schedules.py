"""The learning-rate schedule against its formula."""

import math

import keras
import numpy as np
import pytest

from segframe.plugins.optimizers import build_adam, build_sgd
from segframe.plugins.schedules import WarmUpThenDecay, learning_rate_at

TOTAL_STEPS = 40


def by_definition(step, kind, learning_rate, warmup_steps, final_fraction, power):
    if step < warmup_steps:
        return learning_rate * (step + 1) / warmup_steps
    t = min((step - warmup_steps) / (TOTAL_STEPS - warmup_steps), 1.0)
    decay = {"constant": 1.0, "cosine": (1 + math.cos(math.pi * t)) / 2, "polynomial": (1 - t) ** power}[kind]
    fraction = 1.0 if kind == "constant" else final_fraction
    return learning_rate * (fraction + (1 - fraction) * decay)


@pytest.mark.parametrize("final_fraction, power", [(0.0, 1.0), (0.1, 0.9)])
@pytest.mark.parametrize("warmup_steps", [0, 1, 7, TOTAL_STEPS - 1])
@pytest.mark.parametrize("kind", ["constant", "cosine", "polynomial"])
def test_schedule_is_its_formula(kind, warmup_steps, final_fraction, power):
    section = {"warmup_steps": warmup_steps, "final_fraction": final_fraction, "power": power}
    schedule = WarmUpThenDecay(kind=kind, learning_rate=3e-3, total_steps=TOTAL_STEPS, **section)
    steps = range(TOTAL_STEPS + 5)
    expected = [by_definition(step, kind, 3e-3, **section) for step in steps]
    np.testing.assert_allclose([schedule(step) for step in steps], expected, rtol=1e-5, atol=1e-9)


def one_cycle(warmup_steps):
    """The rate of each step."""
    section = {"warmup_steps": warmup_steps, "final_fraction": 1e-3, "power": 1.0}
    schedule = WarmUpThenDecay(kind="one_cycle", learning_rate=3e-3, total_steps=TOTAL_STEPS, **section)
    return [float(schedule(step)) for step in range(TOTAL_STEPS + 1)]


@pytest.mark.parametrize("warmup_steps", [1, 12, TOTAL_STEPS - 1])
def test_one_cycle_is_its_formula(warmup_steps):
    found = one_cycle(warmup_steps)
    between = [(0, 1 / 25), (warmup_steps, 1.0), (TOTAL_STEPS, 1e-3)]
    for (start, first), (end, second) in zip(between, between[1:], strict=False):
        for step in range(start, end + 1):
            share = (1 - math.cos(math.pi * (step - start) / (end - start))) / 2
            assert found[step] == pytest.approx(3e-3 * (first + (second - first) * share), rel=1e-4)


@pytest.mark.parametrize("warmup_steps", [1, 12, TOTAL_STEPS - 1])
def test_one_cycle_is_pytorchs(torch, warmup_steps):
    theirs = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    # Its last step has the lowest rate; ours would have it one step later.
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        theirs, 3e-3, total_steps=TOTAL_STEPS + 1, pct_start=(warmup_steps + 1) / (TOTAL_STEPS + 1),
        div_factor=25, final_div_factor=1000 / 25, cycle_momentum=False,
    )  # fmt: skip
    for step, rate in enumerate(one_cycle(warmup_steps)):
        assert rate == pytest.approx(cycle.get_last_lr()[0], rel=1e-4)
        theirs.step()
        if step < TOTAL_STEPS:
            cycle.step()


@pytest.mark.parametrize("kind", ["cosine", "polynomial", "one_cycle"])
def test_every_step_of_the_run_learns_something(kind):
    schedule = {"name": kind, "warmup_steps": 5, "final_fraction": 0.0, "power": 1.0}
    optimizer = build_adam(total_steps=TOTAL_STEPS, schedule=schedule)
    assert all(learning_rate_at(optimizer, step) > 0 for step in range(TOTAL_STEPS))
    assert learning_rate_at(optimizer, TOTAL_STEPS) == pytest.approx(0.0, abs=1e-10)


def test_steps_are_told_apart_above_what_float32_counts():
    many = 2**25
    schedule = WarmUpThenDecay(
        kind="polynomial",
        learning_rate=1.0,
        total_steps=many + 3,
        warmup_steps=many,
        final_fraction=0.0,
        power=1.0,
    )
    np.testing.assert_allclose([schedule(many + step) for step in range(4)], [1, 2 / 3, 1 / 3, 0], atol=1e-6)


def test_schedule_survives_serialization():
    schedule = WarmUpThenDecay(
        kind="cosine",
        learning_rate=1e-2,
        total_steps=TOTAL_STEPS,
        warmup_steps=3,
        final_fraction=0.2,
        power=1.0,
    )
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    assert again.get_config() == schedule.get_config()
    assert [float(again(step)) for step in range(9)] == [float(schedule(step)) for step in range(9)]


def test_optimizer_follows_the_schedule_by_its_iterations():
    schedule = {"name": "cosine", "warmup_steps": 3, "final_fraction": 0.1, "power": 1.0}
    optimizer = build_sgd(total_steps=TOTAL_STEPS, learning_rate=0.5, momentum=0.0, schedule=schedule)
    weight = keras.Variable([0.0])
    for step in range(9):
        before = float(weight[0])
        optimizer.apply([np.float32([1.0])], [weight])
        expected = by_definition(step, "cosine", 0.5, 3, 0.1, 1.0)
        assert before - float(weight[0]) == pytest.approx(expected, rel=1e-5)
        assert learning_rate_at(optimizer, step) == pytest.approx(expected, rel=1e-5)


def test_learning_rate_is_read_through_loss_scaling_and_without_a_schedule():
    optimizer = keras.optimizers.LossScaleOptimizer(build_adam(total_steps=TOTAL_STEPS, learning_rate=2e-3))
    assert learning_rate_at(optimizer, 7) == pytest.approx(2e-3)
