"""The basic losses against their formulas in float64 NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from segframe import IGNORED, SegframeError
from segframe.plugins.losses import build_cross_entropy, build_dice, build_sum

CLASSES = 3
FACTS = {"num_classes": CLASSES, "ignore_index": IGNORED, "spacing": None}


@pytest.fixture
def mask():
    """(4, 13, 21): a mixed image, one of one class, one with ignored pixels, one with nothing else."""
    ids = np.random.default_rng(0).integers(CLASSES, size=(4, 13, 21)).astype(np.int32)
    ids[1] = 1
    ids[2, 3:9, :11] = IGNORED
    ids[3] = IGNORED
    return ids


@pytest.fixture
def logits(mask):
    return np.random.default_rng(1).normal(scale=3.0, size=(*mask.shape, CLASSES)).astype(np.float32)


def log_softmax(logits):
    logits = logits.astype(np.float64)
    largest = logits.max(-1, keepdims=True)
    return logits - largest - np.log(np.exp(logits - largest).sum(-1, keepdims=True))


def cross_entropy_by_definition(mask, logits, class_weights=(1.0,) * CLASSES, label_smoothing=0.0):
    losses = np.zeros(len(mask))
    for index, (ids, log_p) in enumerate(zip(mask, log_softmax(logits), strict=True)):
        pixels = []
        for class_id, log_pixel in zip(ids[ids != IGNORED], log_p[ids != IGNORED], strict=True):
            q = (1 - label_smoothing) * np.eye(CLASSES)[class_id] + label_smoothing / CLASSES
            pixels.append(-sum(np.array(class_weights) * q * log_pixel))
        losses[index] = np.mean(pixels) if pixels else 0.0
    return losses


def dice_by_definition(mask, logits, smooth=1.0, classes=range(CLASSES)):
    losses = np.zeros(len(mask))
    for index, (ids, log_p) in enumerate(zip(mask, log_softmax(logits), strict=True)):
        p, y = np.exp(log_p[ids != IGNORED]), np.eye(CLASSES)[ids[ids != IGNORED]]
        ratios = [
            (2 * (p[:, c] * y[:, c]).sum() + smooth) / (p[:, c].sum() + y[:, c].sum() + smooth)
            for c in classes
        ]
        losses[index] = 1 - np.mean(ratios)
    return losses


def gradient(loss, mask, logits):
    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        total = tf.reduce_sum(loss({"mask": tf.constant(mask)}, logits))
    return tape.gradient(total, logits).numpy()


def slope(by_definition, mask, logits, step=1e-5):
    """Central differences of the sum over images, in float64."""
    logits = logits.astype(np.float64)
    slopes = np.zeros_like(logits)
    for index in np.ndindex(*logits.shape):
        moved = np.zeros_like(logits)
        moved[index] = step
        above, below = by_definition(mask, logits + moved).sum(), by_definition(mask, logits - moved).sum()
        slopes[index] = (above - below) / (2 * step)
    return slopes


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("class_weights", [None, [0.25, 1.0, 3.0]])
def test_cross_entropy_is_its_formula(mask, logits, class_weights, label_smoothing):
    loss = build_cross_entropy(**FACTS, class_weights=class_weights, label_smoothing=label_smoothing)
    expected = cross_entropy_by_definition(mask, logits, class_weights or (1.0,) * CLASSES, label_smoothing)
    np.testing.assert_allclose(loss({"mask": mask}, logits), expected, rtol=1e-5)


def test_cross_entropy_is_keras_where_all_pixels_are_valid(mask, logits):
    smoothed = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1, reduction=None)
    expected = tf.reduce_mean(smoothed(tf.one_hot(mask[:2], CLASSES), logits[:2]), axis=(1, 2))
    loss = build_cross_entropy(**FACTS, label_smoothing=0.1)
    np.testing.assert_allclose(loss({"mask": mask[:2]}, logits[:2]), expected, rtol=1e-5)


@pytest.mark.parametrize("smooth", [1.0, 1e-3])
@pytest.mark.parametrize("include_background", [True, False])
def test_dice_is_its_formula(mask, logits, include_background, smooth):
    loss = build_dice(**FACTS, include_background=include_background, smooth=smooth)
    expected = dice_by_definition(mask, logits, smooth, range(0 if include_background else 1, CLASSES))
    np.testing.assert_allclose(loss({"mask": mask}, logits), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "build, by_definition",
    [(build_cross_entropy, cross_entropy_by_definition), (build_dice, dice_by_definition)],
)
def test_gradient_is_the_slope_of_the_formula(mask, logits, build, by_definition):
    mask, logits = mask[:, 2:5, 8:13], logits[:, 2:5, 8:13]  # has ignored and valid pixels
    actual = gradient(build(**FACTS), mask, logits)
    np.testing.assert_allclose(actual, slope(by_definition, mask, logits), rtol=1e-3, atol=1e-6)


def test_class_weight_of_zero_takes_a_class_out(mask, logits):
    loss = build_cross_entropy(**FACTS, class_weights=[1.0, 0.0, 1.0])
    assert loss({"mask": mask}, logits)[1] == 0  # the image of class 1 only


def test_dice_of_an_absent_class_costs_what_is_predicted_of_it():
    nothing = build_dice(**FACTS, include_background=False)
    mask = np.zeros((1, 13, 21), np.int32)
    right = np.broadcast_to(np.float32([30, 0, 0]), (1, 13, 21, 3))
    assert nothing({"mask": mask}, right)[0] < 1e-6
    assert nothing({"mask": mask}, right[..., ::-1])[0] > 0.49  # one of the two classes everywhere


def test_sum_is_the_weighted_sum(mask, logits):
    cross_entropy, dice = build_cross_entropy(**FACTS), build_dice(**FACTS)
    loss = build_sum(**FACTS, terms={"a": (0.25, cross_entropy), "b": (3.0, dice)})
    target = {"mask": mask}
    expected = 0.25 * cross_entropy(target, logits) + 3.0 * dice(target, logits)
    np.testing.assert_allclose(loss(target, logits), expected, rtol=1e-6)


def test_sum_asks_for_the_maps_of_all_terms_once():
    def term(*names):
        term = build_dice(**FACTS)
        term.maps = names
        return 1.0, term

    loss = build_sum(**FACTS, terms={"a": term("distance", "border"), "b": term(), "c": term("border")})
    assert loss.maps == ("distance", "border")


def test_logits_of_another_number_of_classes_are_refused(mask, logits):
    with pytest.raises(
        SegframeError, match=r"logits: expected \(batch, height, width, 3\), got \(4, 13, 21, 1\)"
    ):
        build_dice(**FACTS)({"mask": mask}, logits[..., :1])


@pytest.mark.parametrize(
    "build, section, message",
    [
        (build_cross_entropy, {"class_weights": [1.0, 2.0]}, r"loss\.class_weights: expected 3 numbers"),
        (build_cross_entropy, {"class_weights": [0.0, 0.0, 0.0]}, "at least one above 0"),
        (build_cross_entropy, {"class_weights": [1.0, -1.0, 1.0]}, r"loss\.class_weights\.1: .* at least 0"),
        (build_cross_entropy, {"label_smoothing": 1.0}, r"loss\.label_smoothing: .* to below 1, got 1\.0"),
        (build_dice, {"smooth": 0.0}, r"loss\.smooth: expected a number above 0"),
        (build_dice, {"smooth": float("nan")}, r"loss\.smooth: .* got nan"),
        (build_dice, {"include_background": False, "num_classes": 1}, r"loss\.include_background"),
        (build_sum, {"terms": {}}, r"loss\.terms: expected at least one term"),
        (build_sum, {"terms": {"a": (0.0, None)}}, r"loss\.terms: expected at least one term"),
        (
            build_sum,
            {"terms": {"a": ({"start": 0.0, "end": 0.0, "epochs": 3}, None)}},
            r"loss\.terms: expected at least one term",
        ),
        (build_cross_entropy, {"class_weights": "balanced"}, r"loss\.class_weights: .* no training masks"),
    ],
)
def test_values_out_of_range_are_refused(build, section, message):
    with pytest.raises(SegframeError, match=message):
        build(**{**FACTS, **section})
