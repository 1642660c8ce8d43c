"""Generalised Dice, focal Tversky and Lovász-softmax against their definitions in float64."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import jaccard_score

from segframe import IGNORED, SegframeError
from segframe_losses import build_focal_tversky, build_generalised_dice, build_lovasz_softmax, build_tversky
from segframe_losses.lovasz import jaccard_steps

CLASSES = 3
FACTS = {"num_classes": CLASSES, "ignore_index": IGNORED, "spacing": None}


@pytest.fixture
def mask():
    """(5, 13, 21): mixed, of one class, without one class, with ignored pixels, with nothing else."""
    ids = np.random.default_rng(0).integers(CLASSES, size=(5, 13, 21)).astype(np.int32)
    ids[1] = 1
    ids[2] = np.where(ids[2] == 2, 0, ids[2])
    ids[3, 3:9, :11] = IGNORED
    ids[4] = IGNORED
    return ids


@pytest.fixture
def logits(mask):
    return np.random.default_rng(1).normal(scale=3.0, size=(*mask.shape, CLASSES)).astype(np.float32)


def valid_pixels(mask, logits):
    """Of each image: (pixels, classes) probabilities and one-hot mask, float64."""
    for ids, image in zip(mask, logits.astype(np.float64), strict=True):
        exponentials = np.exp(image[ids != IGNORED])
        yield exponentials / exponentials.sum(-1, keepdims=True), np.eye(CLASSES)[ids[ids != IGNORED]]


def generalised_dice_by_definition(mask, logits):
    losses = []
    for p, y in valid_pixels(mask, logits):
        with np.errstate(divide="ignore"):
            w = 1 / y.sum(0) ** 2
        w[np.isinf(w)] = max(w[np.isfinite(w)], default=0)
        losses.append(1 - 2 * (w * (p * y).sum(0)).sum() / (w * (p + y).sum(0)).sum() if len(p) else 0.0)
    return np.array(losses)


def focal_tversky_by_definition(mask, logits, alpha=0.3, beta=0.7, gamma=4 / 3, smooth=1.0):
    losses = []
    for p, y in valid_pixels(mask, logits):
        hit, false_positive, false_negative = (p * y).sum(0), (p * (1 - y)).sum(0), ((1 - p) * y).sum(0)
        index = (hit + smooth) / (hit + alpha * false_positive + beta * false_negative + smooth)
        losses.append(np.mean((1 - index) ** (1 / gamma)))
    return np.array(losses)


def jaccard_loss(wrong, y):
    """1 - intersection over union where exactly the pixels of the bool array `wrong` are wrong."""
    predicted = np.where(wrong, ~y, y)
    union = (predicted | y).sum()
    return 1 - (predicted & y).sum() / union if union else 0.0


def lovasz_by_definition(mask, logits):
    losses = []
    for p, y in valid_pixels(mask, logits):
        by_class = []
        for c in np.flatnonzero(y.any(0)):
            errors, member = np.abs(y[:, c] - p[:, c]), y[:, c] > 0
            order = np.argsort(-errors)
            wrong, before, total = np.zeros(len(errors), bool), 0.0, 0.0
            for pixel in order:
                wrong[pixel] = True
                now = jaccard_loss(wrong, member)
                total += errors[pixel] * (now - before)
                before = now
            by_class.append(total)
        losses.append(np.mean(by_class) if by_class else 0.0)
    return np.array(losses)


LOSSES = [
    (build_generalised_dice, generalised_dice_by_definition),
    (build_focal_tversky, focal_tversky_by_definition),
    (build_lovasz_softmax, lovasz_by_definition),
]


@pytest.mark.parametrize("build, by_definition", LOSSES)
def test_loss_is_its_formula(mask, logits, build, by_definition):
    # float32 sums over 273 pixels.
    np.testing.assert_allclose(
        build(**FACTS)({"mask": mask}, logits), by_definition(mask, logits), rtol=2e-5, atol=1e-7
    )


@pytest.mark.parametrize("build, by_definition", LOSSES)
def test_gradient_is_the_slope_of_the_formula(mask, logits, build, by_definition):
    mask, logits = mask[:, 2:5, 8:13], logits[:, 2:5, 8:13]  # has ignored and valid pixels
    values = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(values)
        total = tf.reduce_sum(build(**FACTS)({"mask": tf.constant(mask)}, values))
    step, slopes = 1e-6, np.zeros(logits.shape)
    for index in np.ndindex(*logits.shape):
        moved = np.zeros(logits.shape)
        moved[index] = step
        above, below = by_definition(mask, logits + moved).sum(), by_definition(mask, logits - moved).sum()
        slopes[index] = (above - below) / (2 * step)
    np.testing.assert_allclose(tape.gradient(total, values), slopes, rtol=2e-3, atol=2e-6)


def test_focal_tversky_of_gamma_one_is_tversky(mask, logits):
    one = build_focal_tversky(**FACTS, gamma=1.0, alpha=0.4)({"mask": mask}, logits)
    np.testing.assert_allclose(one, build_tversky(**FACTS, alpha=0.4)({"mask": mask}, logits), rtol=1e-6)


def test_generalised_dice_counts_a_small_class_as_much_as_a_large_one():
    mask = np.zeros((1, 13, 21), np.int32)
    mask[0, 0, 0] = 1
    size = 20.0
    right = size * np.eye(CLASSES, dtype=np.float32)[mask]
    missed = right.copy()
    missed[0, 0, 0] = right[0, 1, 1]
    loss = build_generalised_dice(**FACTS)
    assert loss({"mask": mask}, right)[0] < 1e-5
    assert loss({"mask": mask}, missed)[0] > 0.9  # one pixel of 273


def test_the_lovasz_extension_is_the_jaccard_loss_where_each_pixel_is_right_or_wrong():
    """All 2^n error sets of one class, for all masks of 5 pixels that have it."""
    for y in itertools.product([False, True], repeat=5):
        if not any(y):
            continue
        y = np.array(y)
        for wrong in itertools.product([False, True], repeat=5):
            wrong = np.array(wrong)
            errors = wrong.astype(np.float32)
            order = np.argsort(-errors, kind="stable")
            steps = jaccard_steps(tf.constant(y[order].astype(np.float32)))
            assert np.sum(errors[order] * steps) == pytest.approx(jaccard_loss(wrong, y), abs=1e-6)


def test_lovasz_of_sure_logits_is_one_minus_scikit_learns_jaccard(mask):
    predicted = np.random.default_rng(2).integers(CLASSES, size=mask.shape)
    actual = build_lovasz_softmax(**FACTS)({"mask": mask}, 1e3 * np.eye(CLASSES, dtype=np.float32)[predicted])
    for ids, guess, value in zip(mask[:4], predicted, actual, strict=False):
        there = ids != IGNORED
        scores = jaccard_score(ids[there], guess[there], labels=np.unique(ids[there]), average=None)
        assert float(value) == pytest.approx(1 - scores.mean(), rel=1e-5)


def test_lovasz_steps_of_a_large_image_keep_their_size():
    """The direct difference of float32 Jaccard losses near 1 would be off by several percent."""
    members = np.random.default_rng(0).random(400_000) < 0.3
    exact = np.cumsum(members), np.cumsum(~members)
    left, union = members.sum() - exact[0], members.sum() + exact[1]
    expected = np.diff(1 - left / union, prepend=0.0)
    actual = jaccard_steps(tf.constant(members.astype(np.float32)))
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-15)


@pytest.mark.parametrize("gamma", [1.0, 4 / 3, 3.0])
def test_focal_tversky_has_a_gradient_of_zero_where_all_is_right(gamma):
    mask = np.int32([[[0, 1, 2]]])
    logits = tf.constant(1e4 * np.eye(CLASSES, dtype=np.float32)[mask])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = build_focal_tversky(**FACTS, gamma=gamma)({"mask": mask}, logits)
    assert value[0] == 0 and not tape.gradient(value, logits).numpy().any()


@pytest.mark.parametrize(
    "section, message",
    [
        ({"gamma": 0.5}, r"loss\.gamma: expected a number of at least 1, got 0\.5"),
        ({"alpha": 0.0, "beta": 0.0}, r"loss\.alpha: .* above 0 where loss\.beta is 0"),
        ({"smooth": 0.0}, r"loss\.smooth: expected a number above 0"),
        ({"include_background": False, "num_classes": 1}, r"loss\.include_background"),
    ],
)
def test_values_out_of_range_are_refused(section, message):
    with pytest.raises(SegframeError, match=message):
        build_focal_tversky(**{**FACTS, **section})
