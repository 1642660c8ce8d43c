"""Jaccard, Tversky and focal loss against their formulas in float64 NumPy, and against each other."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from segframe import IGNORED, SegframeError
from segframe.plugins.losses import build_cross_entropy, build_dice
from segframe_losses import build_focal, build_jaccard, build_tversky

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


def valid_pixels(mask, logits):
    """Of each image: (pixels, classes) probabilities and one-hot mask, float64."""
    for ids, image in zip(mask, logits.astype(np.float64), strict=True):
        exponentials = np.exp(image[ids != IGNORED])
        yield exponentials / exponentials.sum(-1, keepdims=True), np.eye(CLASSES)[ids[ids != IGNORED]]


def tversky_by_definition(mask, logits, alpha=0.3, beta=0.7, smooth=1.0, classes=range(CLASSES)):
    losses = []
    for p, y in valid_pixels(mask, logits):
        hit, false_positive, false_negative = (p * y).sum(0), (p * (1 - y)).sum(0), ((1 - p) * y).sum(0)
        ratio = (hit + smooth) / (hit + alpha * false_positive + beta * false_negative + smooth)
        losses.append(1 - np.mean(ratio[list(classes)]))
    return np.array(losses)


def jaccard_by_definition(mask, logits, smooth=1.0, classes=range(CLASSES)):
    losses = []
    for p, y in valid_pixels(mask, logits):
        intersection = (p * y).sum(0)
        ratio = (intersection + smooth) / (p.sum(0) + y.sum(0) - intersection + smooth)
        losses.append(1 - np.mean(ratio[list(classes)]))
    return np.array(losses)


def focal_by_definition(mask, logits, gamma=2.0, class_weights=(1.0,) * CLASSES):
    losses = []
    for p, y in valid_pixels(mask, logits):
        p_mask, weight = (p * y).sum(-1), y @ np.array(class_weights)
        pixels = -weight * (1 - p_mask) ** gamma * np.log(p_mask)
        losses.append(pixels.mean() if len(pixels) else 0.0)
    return np.array(losses)


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


@pytest.mark.parametrize("alpha, beta, smooth", [(0.3, 0.7, 1.0), (1.5, 0.0, 0.25)])
@pytest.mark.parametrize("include_background", [True, False])
def test_tversky_is_its_formula(mask, logits, include_background, alpha, beta, smooth):
    section = {"alpha": alpha, "beta": beta, "smooth": smooth}
    loss = build_tversky(**FACTS, include_background=include_background, **section)
    expected = tversky_by_definition(
        mask, logits, **section, classes=range(0 if include_background else 1, CLASSES)
    )
    np.testing.assert_allclose(loss({"mask": mask}, logits), expected, rtol=1e-5)


@pytest.mark.parametrize("include_background", [True, False])
def test_jaccard_is_its_formula(mask, logits, include_background):
    loss = build_jaccard(**FACTS, include_background=include_background, smooth=0.5)
    classes = range(0 if include_background else 1, CLASSES)
    expected = jaccard_by_definition(mask, logits, 0.5, classes)
    np.testing.assert_allclose(loss({"mask": mask}, logits), expected, rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
@pytest.mark.parametrize("class_weights", [None, [0.25, 1.0, 3.0]])
def test_focal_is_its_formula(mask, logits, class_weights, gamma):
    loss = build_focal(**FACTS, gamma=gamma, class_weights=class_weights)
    expected = focal_by_definition(mask, logits, gamma, class_weights or (1.0,) * CLASSES)
    np.testing.assert_allclose(loss({"mask": mask}, logits), expected, rtol=1e-5)


def test_focal_is_keras_where_all_pixels_are_valid_and_no_probability_is_clipped(mask, logits):
    """Not where p is below Keras's epsilon of 1e-7: there Keras's gradient ends, and ours does not."""
    mask, logits = mask[:2], logits[:2] / 3
    focal = keras.losses.CategoricalFocalCrossentropy(alpha=1.0, gamma=2.0, from_logits=True, reduction=None)
    expected = tf.reduce_mean(focal(tf.one_hot(mask, CLASSES), logits), axis=(1, 2))
    np.testing.assert_allclose(build_focal(**FACTS)({"mask": mask}, logits), expected, rtol=1e-4)


@pytest.mark.parametrize(
    "build, by_definition",
    [
        (build_jaccard, jaccard_by_definition),
        (build_tversky, tversky_by_definition),
        (build_focal, focal_by_definition),
    ],
)
def test_gradient_is_the_slope_of_the_formula(mask, logits, build, by_definition):
    mask, logits = mask[:, 2:5, 8:13], logits[:, 2:5, 8:13]  # has ignored and valid pixels
    actual = gradient(build(**FACTS), mask, logits)
    np.testing.assert_allclose(actual, slope(by_definition, mask, logits), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    "one, other",
    [
        (build_tversky(**FACTS, alpha=0.5, beta=0.5, smooth=0.5), build_dice(**FACTS, smooth=1.0)),
        (build_tversky(**FACTS, alpha=1.0, beta=1.0), build_jaccard(**FACTS)),
        (build_focal(**FACTS, gamma=0.0), build_cross_entropy(**FACTS)),
        (
            build_focal(**FACTS, gamma=0.0, class_weights=[1.0, 2.0, 0.5]),
            build_cross_entropy(**FACTS, class_weights=[1.0, 2.0, 0.5]),
        ),
    ],
    ids=["tversky_is_dice", "tversky_is_jaccard", "focal_is_cross_entropy", "so_it_is_weighted"],
)
def test_special_cases_are_equal(mask, logits, one, other):
    np.testing.assert_allclose(one({"mask": mask}, logits), other({"mask": mask}, logits), rtol=1e-5)
    np.testing.assert_allclose(
        gradient(one, mask, logits), gradient(other, mask, logits), rtol=1e-4, atol=1e-8
    )


def test_jaccard_follows_from_dice_image_by_image(mask, logits):
    """J = D / (2 - D) for each class, so the losses of one class obey it too."""
    one_class = {**FACTS, "num_classes": 2, "include_background": False, "smooth": 1e-6}
    mask = np.where(mask == 2, 0, mask)[:3]
    dice = 1 - build_dice(**one_class)({"mask": mask}, logits[:3, ..., :2])
    jaccard = 1 - build_jaccard(**one_class)({"mask": mask}, logits[:3, ..., :2])
    np.testing.assert_allclose(jaccard, dice / (2 - dice), rtol=1e-4)


@pytest.mark.parametrize("gamma", [0.1, 0.5, 1.0, 2.0])
def test_focal_gradient_is_finite_where_the_probability_rounds_to_one(gamma):
    logits = np.float32([[[[0.0, 0, 40], [0, 0, 1e4], [1e4, 0, -1e4]]]])
    actual = gradient(build_focal(**FACTS, gamma=gamma), np.int32([[[2, 2, 2]]]), logits)
    assert np.isfinite(actual).all()


@pytest.mark.parametrize(
    "build, section, message",
    [
        (build_jaccard, {"smooth": 0.0}, r"loss\.smooth: expected a number above 0, got 0\.0"),
        (build_jaccard, {"include_background": False, "num_classes": 1}, r"loss\.include_background"),
        (build_tversky, {"alpha": -0.1}, r"loss\.alpha: expected a number of at least 0"),
        (build_tversky, {"beta": float("inf")}, r"loss\.beta: .* got inf"),
        (build_tversky, {"alpha": 0.0, "beta": 0.0}, r"loss\.alpha: .* above 0 where loss\.beta is 0"),
        (build_focal, {"gamma": -1.0}, r"loss\.gamma: expected a number of at least 0"),
        (build_focal, {"class_weights": [1.0]}, r"loss\.class_weights: expected 3 numbers"),
        (build_focal, {"class_weights": [1.0, 1.0, -1.0]}, r"loss\.class_weights\.2"),
    ],
)
def test_values_out_of_range_are_refused(build, section, message):
    with pytest.raises(SegframeError, match=message):
        build(**{**FACTS, **section})
