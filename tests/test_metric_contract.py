"""What segframe_metrics promises, checked for every metric that is installed."""

import json

import numpy as np
import pytest

from segframe.catalog import build, catalog
from segframe.dataset import IGNORED
from segframe.manager import plugin_manager

PLUGINS = plugin_manager()
CLASSES = 3
SHAPES = [(1, 1), (1, 8), (13, 21)]


@pytest.fixture(params=sorted(catalog(PLUGINS, "metrics")))
def make(request):
    def built(spacing=None):
        section = {"name": request.param}
        return build(PLUGINS, "metrics", section, num_classes=CLASSES, ignore_index=IGNORED, spacing=spacing)

    return built


def images(shape):
    """(mask, prediction), the classes of both at random, a part of the mask ignored."""
    random = np.random.default_rng(sum(shape))
    mask, prediction = random.integers(CLASSES, size=(2, *shape)).astype(np.uint8)
    mask[random.random(shape) < 0.2] = IGNORED
    return mask, prediction


@pytest.mark.parametrize("spacing", [None, (5.0, 0.5)], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_scores_are_those_that_are_named_finite_or_nan_and_images_stay_as_they_are(make, shape, spacing):
    metric = make(spacing)
    mask, prediction = images(shape)
    kept = mask.copy(), prediction.copy()
    mask.setflags(write=False)
    prediction.setflags(write=False)
    first, again = metric(mask, prediction), metric(*kept)
    assert set(first) == set(metric.larger_is_better)
    for name, value in first.items():
        assert np.shape(value) in ((), (CLASSES,)) and not np.isinf(value).any()
        np.testing.assert_array_equal(value, again[name])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_true_prediction_is_the_best(make, shape):
    metric = make()
    mask, prediction = images(shape)
    best, other = metric(mask, np.where(mask == IGNORED, 0, mask)), metric(mask, prediction)
    for name, larger in metric.larger_is_better.items():
        ahead = np.subtract(best[name], other[name]) * (1 if larger else -1)
        assert np.all(np.isnan(ahead) | (ahead >= 0))


def test_a_class_that_was_not_found_is_worse_than_one_that_was(make):
    metric = make()
    mask = np.zeros((12, 12), np.uint8)
    mask[0, 0] = 1
    far, missing = np.zeros_like(mask), np.zeros_like(mask)
    far[-1, -1] = 1
    found, lost = metric(mask, far), metric(mask, missing)
    for name, larger in metric.larger_is_better.items():
        if np.ndim(found[name]):
            difference = (found[name][1] - lost[name][1]) * (1 if larger else -1)
            assert difference >= 0 and np.isnan(found[name][2])


def test_ignored_pixels_count_nowhere(make):
    metric = make()
    mask, prediction = images((13, 21))
    changed = np.where(mask == IGNORED, (prediction + 1) % CLASSES, prediction).astype(np.uint8)
    for name, value in metric(mask, prediction).items():
        np.testing.assert_array_equal(value, metric(mask, changed)[name])
    for value in metric(np.full_like(mask, IGNORED), prediction).values():
        assert np.isnan(value).all()


def test_its_contract_can_be_stored(make):
    metric = make((5.0, 0.5))
    assert json.loads(json.dumps(metric.contract)) == metric.contract and metric.contract
    assert set(metric.contract.get("units", {})) <= set(metric.larger_is_better)
    assert all(isinstance(larger, bool) for larger in metric.larger_is_better.values())
