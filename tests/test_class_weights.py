"""segframe.class_weights against its formulas, and against scikit-learn."""

from fractions import Fraction
from statistics import median
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from segframe import IGNORED, Sample, SegframeError, check_class_weights, make_class_weights
from segframe.catalog import build
from segframe.class_weights import count_class_pixels
from segframe.split import Part

CLASSES = 4


@pytest.fixture
def masks():
    """Six masks of odd sizes; class 2 is in one of them only, class 3 in none, some pixels are ignored."""
    random = np.random.default_rng(0)
    found = [random.choice([0, 0, 0, 1], size=(5 + n, 13)).astype(np.uint8) for n in range(6)]
    found[1][:] = 0
    found[2][:2, 3:9] = 2
    found[4][3:, :6] = IGNORED
    return found


@pytest.fixture
def counts(masks):
    return np.array([[np.count_nonzero(mask == c) for c in range(CLASSES)] for mask in masks])


def test_balanced_is_scikit_learns(masks, counts):
    pixels = np.concatenate([mask[mask != IGNORED] for mask in masks])
    expected = compute_class_weight("balanced", classes=np.unique(pixels), y=pixels)
    made = make_class_weights("balanced", lambda: counts)
    np.testing.assert_allclose(made[:3], expected, rtol=1e-12)
    assert made[3] == 1  # in no mask
    assert np.mean(np.array(made)[pixels]) == pytest.approx(1)  # so the loss keeps its size


def test_median_frequency_is_its_formula(masks, counts):
    frequencies = {}
    for c in range(3):
        shown = [mask for mask in masks if (mask == c).any()]
        pixels = sum(int((mask == c).sum()) for mask in shown)
        frequencies[c] = Fraction(pixels, sum(int((mask != IGNORED).sum()) for mask in shown))
    expected = [float(median(frequencies.values()) / frequencies[c]) for c in range(3)] + [1.0]
    np.testing.assert_allclose(make_class_weights("median_frequency", lambda: counts), expected, rtol=1e-12)


@pytest.mark.parametrize("weights", [None, [0.5, 2.0]])
def test_numbers_are_taken_as_they_are_and_nothing_is_counted(weights):
    assert make_class_weights(weights, lambda: pytest.fail("counted")) == weights


def test_pixels_are_counted_by_sample_in_the_parts_order(masks, counts):
    samples = [Sample(None, mask) for mask in masks]
    dataset = SimpleNamespace(
        num_classes=CLASSES, image_shape=(4096, 4096, 1),  # so that they are read two at a time
        read=lambda split, indices: [samples[index] for index in indices],
    )  # fmt: skip
    part = Part("train", (4, 0, 2), ("e", "a", "c"))
    np.testing.assert_array_equal(count_class_pixels(dataset, part), counts[[4, 0, 2]])


def test_only_a_builder_that_names_the_fact_gets_it(plugins, counts):
    facts = {
        "num_classes": 3,
        "ignore_index": IGNORED,
        "spacing": None,
        "class_pixels": lambda: counts[:, :3],
    }
    build(plugins, "loss", {"name": "dice"}, **facts)
    loss = build(plugins, "loss", {"name": "cross_entropy", "class_weights": "balanced"}, **facts)
    assert loss.class_weights == make_class_weights("balanced", facts["class_pixels"])


@pytest.mark.parametrize("pixels", [None, lambda: np.zeros((2, 3), np.int64)], ids=["no_data", "all_ignored"])
def test_without_pixels_there_is_no_balance(pixels):
    with pytest.raises(SegframeError, match=r"loss\.class_weights: expected numbers, .* got 'balanced'"):
        make_class_weights("balanced", pixels)


@pytest.mark.parametrize(
    "weights, message",
    [
        ([1.0, 2.0], "expected 3 numbers"),
        ([0.0, 0.0, 0.0], "at least one above 0"),
        ([1.0, float("nan"), 1.0], r"loss\.class_weights\.1: expected a number of at least 0, got nan"),
    ],
)
def test_wrong_numbers_are_refused(weights, message):
    with pytest.raises(SegframeError, match=message):
        check_class_weights(weights, 3)


def test_another_word_is_refused_with_those_there_are(plugins):
    with pytest.raises(SegframeError, match="'balanced' or 'median_frequency'"):
        build(plugins, "loss", {"name": "cross_entropy", "class_weights": "inverse"}, num_classes=3,
              ignore_index=IGNORED, spacing=None)  # fmt: skip
