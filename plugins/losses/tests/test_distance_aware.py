"""segframe_losses.distance_aware and nearness against their definitions in float64, and their identities."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from segframe import IGNORED, SegframeError
from segframe_losses.distance_aware import power, weighted_terms
from segframe_losses.distance_aware_builder import build_distance_aware
from segframe_losses.map_builders import segframe_maps
from segframe_losses.nearness import squared_distance_within

BOTH_SOURCES = pytest.mark.parametrize("map_source", ["stored", "in_graph"])


def squared_distances(there, spacing=(1.0, 1.0)):
    """(height, width) bool -> d² to the nearest True, all pairs in float64; inf where there is none."""
    pixels = np.stack(np.indices(there.shape), -1).reshape(-1, 2) * spacing
    wanted = np.argwhere(there) * spacing
    if not len(wanted):
        return np.full(there.shape, np.inf)
    return ((pixels[:, None] - wanted) ** 2).sum(-1).min(1).reshape(there.shape)


def by_definition(mask, logits, *, sigma=5.0, alpha=2.0, beta=4.0, spacing=(1.0, 1.0), activation="softmax",
                  include_background=False, normalize="pixels"):  # fmt: skip
    """The formula of the docstring, (batch,) float64."""
    logits = logits.astype(np.float64)
    if activation == "softmax":
        exponentials = np.exp(logits - logits.max(-1, keepdims=True))
        p = exponentials / exponentials.sum(-1, keepdims=True)
    else:
        p = 1 / (1 + np.exp(-logits))
    result = []
    for ids, probabilities in zip(mask, p, strict=True):
        valid, total = ids != IGNORED, 0.0
        classes = range(0 if include_background else 1, logits.shape[-1])
        for c in classes:
            y = np.exp(-squared_distances(ids == c, spacing) / (2 * sigma**2))
            pc = probabilities[..., c]
            right = (1 - pc) ** alpha * np.log(pc)
            wrong = (1 - y) ** beta * pc**alpha * np.log(1 - pc)
            total -= np.where(ids == c, right, wrong)[valid].sum()
        counted = valid if normalize == "pixels" else np.isin(ids, classes)
        result.append(total / max(counted.sum(), 1))
    return np.array(result)


def build(num_classes, spacing=None, **settings):
    return build_distance_aware(num_classes=num_classes, ignore_index=IGNORED, spacing=spacing, **settings)


def target_for(loss, mask, num_classes, spacing=None):
    target = {"mask": tf.constant(mask)}
    for name in loss.maps:
        maker = segframe_maps()[name](num_classes=num_classes, ignore_index=IGNORED, spacing=spacing)
        target[name] = tf.constant(np.stack([maker.make(ids.astype(np.uint8)) for ids in mask]))
    return target


def example(num_classes, size=(13, 21)):
    """Images: blobs; one class only; ignored pixels; background only."""
    generator = np.random.default_rng(0)
    mask = np.zeros((4, *size), np.int32)
    mask[0, 2:5, 3:9], mask[0, 8:, 15:] = 1, num_classes - 1
    mask[1] = 1
    mask[2, :4], mask[2, 6:, :5] = num_classes - 1, IGNORED
    logits = generator.normal(scale=2, size=(*mask.shape, num_classes)).astype(np.float32)
    return mask, logits


@BOTH_SOURCES
@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"alpha": 0.0, "beta": 1.0},
        {"alpha": 1.5, "beta": 2.5},
        {"activation": "sigmoid"},
        {"include_background": True},
        {"normalize": "foreground"},
        {"sigma_px": 0.5},
    ],
    ids=str,
)
def test_value_is_the_definitions(map_source, num_classes, settings):
    mask, logits = example(num_classes)
    loss = build(num_classes, map_source=map_source, **settings)
    reference = {key.replace("sigma_px", "sigma"): value for key, value in settings.items()}
    expected = by_definition(mask, logits, **reference)
    actual = loss(target_for(loss, mask, num_classes), tf.constant(logits))
    assert actual.dtype == tf.float32
    np.testing.assert_allclose(actual, expected, rtol=2e-5 if map_source == "stored" else 2e-3, atol=1e-6)


@BOTH_SOURCES
@pytest.mark.parametrize("spacing", [(2.0, 2.0), (5.0, 0.5)])
def test_millimetres(map_source, spacing):
    mask, logits = example(3)
    loss = build(3, spacing, sigma_px=None, sigma_mm=4.0, map_source=map_source)
    expected = by_definition(mask, logits, sigma=4.0, spacing=spacing)
    actual = loss(target_for(loss, mask, 3, spacing), tf.constant(logits))
    np.testing.assert_allclose(actual, expected, rtol=2e-3, atol=1e-6)


@BOTH_SOURCES
def test_pixels_that_are_not_square_count_as_squares_of_their_area(map_source):
    mask, logits = example(2)
    spacing = (4.0, 1.0)
    loss = build(2, spacing, sigma_px=3.0, map_source=map_source)
    expected = by_definition(mask, logits, sigma=3.0, spacing=(2.0, 0.5))
    actual = loss(target_for(loss, mask, 2, spacing), tf.constant(logits))
    np.testing.assert_allclose(actual, expected, rtol=2e-3, atol=1e-6)


@BOTH_SOURCES
def test_one_sigmoid_logit_for_a_binary_mask(map_source):
    """The slides' case: the core hands a single logit z over as [0, z]."""
    mask, logits = example(2)
    z = logits[..., 1:].astype(np.float64)
    p, expected = 1 / (1 + np.exp(-z[..., 0])), []
    for ids, probability in zip(mask, p, strict=True):
        y = np.exp(-squared_distances(ids == 1) / 50.0)
        terms = np.where(ids == 1, (1 - probability) ** 2 * np.log(probability),
                         (1 - y) ** 4 * probability**2 * np.log(1 - probability))  # fmt: skip
        expected.append(-terms[ids != IGNORED].mean())
    two = tf.constant(np.concatenate([np.zeros_like(z), z], -1).astype(np.float32))
    for activation in ("softmax", "sigmoid"):
        loss = build(2, map_source=map_source, activation=activation)
        np.testing.assert_allclose(loss(target_for(loss, mask, 2), two), expected, rtol=2e-3, atol=1e-6)


def test_without_exponents_it_is_binary_cross_entropy():
    mask, logits = example(2)
    loss = build(2, alpha=0.0, beta=0.0)
    assert loss.maps == ()
    pixels = tf.nn.sparse_softmax_cross_entropy_with_logits(np.where(mask == IGNORED, 0, mask), logits)
    valid = mask != IGNORED
    expected = (pixels.numpy() * valid).sum((1, 2)) / valid.sum((1, 2))
    np.testing.assert_allclose(loss({"mask": mask}, logits), expected, rtol=1e-5)


@BOTH_SOURCES
def test_with_hard_edges_it_is_the_focal_loss(map_source):
    """sigma far below a pixel: y is the one-hot mask."""
    mask, logits = example(2)
    loss = build(2, sigma_px=0.05, map_source=map_source)
    p = tf.nn.softmax(tf.constant(logits, tf.float64)).numpy()
    own = np.take_along_axis(p, np.where(mask == IGNORED, 0, mask)[..., None], -1)[..., 0]
    valid = mask != IGNORED
    expected = (-((1 - own) ** 2) * np.log(own) * valid).sum((1, 2)) / valid.sum((1, 2))
    np.testing.assert_allclose(loss(target_for(loss, mask, 2), logits), expected, rtol=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 1.0, 2.0, 2.5])
def test_the_gradient_agrees_with_finite_differences(alpha):
    generator = np.random.default_rng(0)
    log_odds = generator.normal(scale=3, size=(5, 7))
    sign, weight = np.where(generator.random((5, 7)) < 0.5, 1.0, -1.0), generator.random((5, 7))
    theoretical, numeric = tf.test.compute_gradient(
        lambda z: weighted_terms(z, tf.constant(sign), tf.constant(weight), alpha), [tf.constant(log_odds)]
    )
    np.testing.assert_allclose(theoretical[0], numeric[0], atol=1e-6)  # central differences, step 1e-3
    assert np.abs(numeric[0]).max() > 0.1


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
@pytest.mark.parametrize("alpha", [0.0, 1.0, 2.0, 2.5])
def test_single_precision_is_the_formula_in_double_precision(alpha, jit_compile):
    """Also where p or 1 - p is next to nothing."""
    log_odds = np.tile(np.linspace(-30, 30, 601, dtype=np.float32), (2, 1))
    sign = np.array([[1.0], [-1.0]], np.float32) * np.ones_like(log_odds)

    @tf.function(jit_compile=jit_compile)
    def value_and_gradient(log_odds):
        with tf.GradientTape() as tape:
            tape.watch(log_odds)
            value = weighted_terms(log_odds, tf.constant(sign), tf.ones_like(log_odds), alpha)
        return value, tape.gradient(value, log_odds)

    signed = (sign * log_odds).astype(np.float64)
    u, v = np.logaddexp(0, -signed), np.logaddexp(0, signed)
    value, gradient = value_and_gradient(tf.constant(log_odds))
    np.testing.assert_allclose(value, np.exp(-alpha * v) * u, rtol=2e-5, atol=1e-37)
    slope = np.exp(-alpha * v) * (alpha * u * np.exp(-u) + np.exp(-v))
    np.testing.assert_allclose(gradient, -sign * slope, rtol=2e-5, atol=1e-37)


@BOTH_SOURCES
@pytest.mark.parametrize(
    "dtype, jit_compile", [("float32", False), ("float32", True), ("bfloat16", False), ("float16", False)]
)
@pytest.mark.parametrize("activation, num_classes", [("softmax", 2), ("softmax", 3), ("sigmoid", 3)])
def test_value_and_gradient_are_finite_at_extreme_logits(
    map_source, dtype, jit_compile, activation, num_classes
):
    mask, logits = example(num_classes)
    loss = build(
        num_classes, map_source=map_source, activation=activation, include_background=True, sigma_px=2.0
    )
    target = target_for(loss, mask, num_classes)

    @tf.function(jit_compile=jit_compile)
    def value_and_gradient(logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = loss(target, tf.cast(logits, tf.float32))
        return value, tape.gradient(value, logits)

    for extreme in (1e4 * np.sign(logits), np.full_like(logits, 1e4), np.zeros_like(logits)):
        value, gradient = value_and_gradient(tf.cast(extreme, dtype))
        assert np.isfinite(value).all() and np.isfinite(tf.cast(gradient, tf.float32)).all()


SIZES = [(1, 1), (1, 9), (7, 1), (13, 21), (40, 33), (257, 129)]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("sigma", [0.5, 3.0, 20.0])
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (2.0, 0.7)], ids=["square", "oblong"])
@pytest.mark.parametrize("gpus", [[], ["a GPU"]], ids=["as on a CPU", "as on a GPU"])
def test_nearness_in_the_graph_errs_by_less_than_the_bound(size, sigma, spacing, gpus, monkeypatch):
    """Classes that are absent, rare, frequent, and everywhere; either way through the axes runs anywhere."""
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    share = np.reshape([0.0, 0.002, 0.3, 1.0], (4, 1, 1, 1))
    there = np.random.default_rng(0).random((4, 2, *size)) < share
    squared = squared_distance_within(tf.constant(there), 4 * sigma, spacing).numpy()
    for c, b in np.ndindex(4, 2):
        expected = np.full(size, np.inf)
        if there[c, b].any():
            expected = ndimage.distance_transform_edt(~there[c, b], sampling=spacing) ** 2
        y = np.exp(-expected / (2 * sigma**2))
        found = np.exp(-squared[c, b].astype(np.float64) / (2 * sigma**2))
        np.testing.assert_allclose(found, y, atol=np.exp(-8))
        near = expected <= (4 * sigma) ** 2
        np.testing.assert_allclose(squared[c, b][near], expected[near], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("exponent", [1.0, 2.0, 3.0, 4.0, 8.0, 2.5])
def test_power(exponent):
    base = np.array([0.0, 1e-3, 0.5, 1.0], np.float32)
    np.testing.assert_allclose(power(tf.constant(base), exponent), base**exponent, rtol=1e-6)


def test_auto_takes_stored_maps_unless_they_cannot_follow():
    assert build(2).maps == ("squared_distance",)
    assert build(2, warped=True).maps == () and build(2, warped=True).in_graph
    assert build(2, sigma_px=100.0).maps == () and build(2, beta=0.0).maps == ()
    assert build(2, warped=True, map_source="stored").maps == ("squared_distance",)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"sigma_px": 0.0}, "loss.sigma_px.*above 0"),
        ({"sigma_mm": 2.0}, "one sigma, .*sigma_px=5.0 and sigma_mm=2.0"),
        ({"sigma_px": None}, "one sigma, .*sigma_px=None and sigma_mm=None"),
        ({"sigma_px": None, "sigma_mm": 2.0}, "no spacing"),
        ({"alpha": -1.0}, "loss.alpha.*at least 0"),
        ({"beta": float("nan")}, "loss.beta.*at least 0"),
        ({"sigma_px": 65.0, "map_source": "stored"}, "at most 64 px"),
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(SegframeError, match=f"(?s){message}"):
        build(2, **settings)
