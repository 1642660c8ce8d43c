"""Border weights, boundary and Hausdorff loss against their formulas, on maps made pixel by pixel."""

import math

import numpy as np
import pytest
import tensorflow as tf

from segframe import IGNORED, SegframeError
from segframe.plugins.losses import build_cross_entropy
from segframe_losses import build_border_weighted_cross_entropy, build_boundary, build_hausdorff_dt
from segframe_losses.map_units import MapUnits

CLASSES = 3
FAR = 65535


def facts(spacing=None, **others):
    return {"num_classes": CLASSES, "ignore_index": IGNORED, "spacing": spacing, **others}


@pytest.fixture
def mask():
    """(4, 9, 11): mixed, of one class, one that lacks class 2 and has ignored pixels, one of them."""
    ids = np.random.default_rng(0).choice([0, 0, 0, 1, 2], size=(4, 9, 11)).astype(np.int32)
    ids[1] = 1
    ids[2] = np.where(ids[2] == 2, 0, ids[2])
    ids[2, 3:7, :5] = IGNORED
    ids[3] = IGNORED
    return ids


@pytest.fixture
def logits(mask):
    return np.random.default_rng(1).normal(scale=3.0, size=(*mask.shape, CLASSES)).astype(np.float32)


def distances(ids, there, spacing):
    """Of each pixel to the nearest one that is there, float64, in the unit of the spacing."""
    pixels = np.stack(np.indices(ids.shape), -1) * np.array(spacing)
    others = pixels[there]
    if not len(others):
        return np.full(ids.shape, np.inf)
    return np.linalg.norm(pixels[:, :, None] - others, axis=-1).min(-1)


def maps(mask, spacing):
    """Both maps in the form of the store: uint16 px² where a pixel is a square, else float32 mm²."""
    square = spacing is None or spacing[0] == spacing[1]
    found = {"squared_distance": [], "squared_distance_to_others": []}
    for ids in mask:
        known = ids != IGNORED
        for name, there in [
            ("squared_distance", lambda c, ids=ids: ids == c),
            ("squared_distance_to_others", lambda c, ids=ids, known=known: known & (ids != c)),
        ]:
            by_class = [distances(ids, there(c), (1, 1) if square else spacing) ** 2 for c in range(CLASSES)]
            found[name].append(np.stack(by_class, -1))
    if square:
        return {name: np.minimum(np.round(made), FAR).astype(np.uint16) for name, made in found.items()}
    return {name: np.array(made, np.float32) for name, made in found.items()}


def in_unit(spacing, unit):
    """(row, column) of a pixel, and its side, in that unit."""
    row, column = spacing or (1.0, 1.0)
    side = math.sqrt(row * column)
    return ((row, column), side) if unit == "mm" else ((row / side, column / side), 1.0)


def probabilities(image):
    exponentials = np.exp(image.astype(np.float64))
    return exponentials / exponentials.sum(-1, keepdims=True)


def summed(mask, logits, spacing, unit, first, term):
    """1/N sum over valid pixels and classes from `first` on of term(p, d, is it the class)."""
    scaled, side = in_unit(spacing, unit)
    losses = []
    for ids, image in zip(mask, logits, strict=True):
        known, p, total = ids != IGNORED, probabilities(image), 0.0
        for c in range(first, CLASSES):
            border = np.where(
                ids == c, distances(ids, known & (ids != c), scaled), distances(ids, ids == c, scaled)
            )
            border[np.isinf(border)] = side
            total += term(p[..., c], border, ids == c)[known].sum()
        losses.append(total / max(known.sum(), 1))
    return np.array(losses)


def boundary_by_definition(mask, logits, spacing=None, unit="px", first=1):
    return summed(mask, logits, spacing, unit, first, lambda p, d, inside: p * np.where(inside, -d, d))


def hausdorff_by_definition(mask, logits, spacing=None, unit="px", first=1, alpha=2.0):
    return summed(mask, logits, spacing, unit, first, lambda p, d, inside: (inside - p) ** 2 * d**alpha)


UNITS = [(None, "px"), ((0.5, 0.5), "px"), ((0.5, 0.5), "mm"), ((5.0, 0.5), "px"), ((5.0, 0.5), "mm")]


@pytest.mark.parametrize("include_background", [False, True])
@pytest.mark.parametrize("spacing, unit", UNITS)
def test_boundary_is_its_formula(mask, logits, spacing, unit, include_background):
    loss = build_boundary(**facts(spacing), unit=unit, include_background=include_background)
    expected = boundary_by_definition(mask, logits, spacing, unit, 0 if include_background else 1)
    actual = loss({"mask": mask, **maps(mask, spacing)}, logits)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)  # terms of both signs


@pytest.mark.parametrize("alpha", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("spacing, unit", UNITS)
def test_hausdorff_is_its_formula(mask, logits, spacing, unit, alpha):
    loss = build_hausdorff_dt(**facts(spacing), unit=unit, alpha=alpha)
    expected = hausdorff_by_definition(mask, logits, spacing, unit, alpha=alpha)
    np.testing.assert_allclose(loss({"mask": mask, **maps(mask, spacing)}, logits), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "build, by_definition",
    [(build_boundary, boundary_by_definition), (build_hausdorff_dt, hausdorff_by_definition)],
)
def test_gradient_is_the_slope_of_the_formula(mask, logits, build, by_definition):
    mask, logits = mask[:, 2:5, 3:8], logits[:, 2:5, 3:8]  # has ignored and valid pixels
    target = {"mask": mask, **maps(mask, None)}
    values = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(values)
        total = tf.reduce_sum(build(**facts())(target, values))
    step, slopes = 1e-5, np.zeros(logits.shape)
    for index in np.ndindex(*logits.shape):
        moved = np.zeros(logits.shape)
        moved[index] = step
        above, below = by_definition(mask, logits + moved).sum(), by_definition(mask, logits - moved).sum()
        slopes[index] = (above - below) / (2 * step)
    np.testing.assert_allclose(tape.gradient(total, values), slopes, rtol=1e-3, atol=1e-6)


def test_boundary_is_the_area_between_two_borders_weighed_by_distance():
    """Of a half plane predicted k columns too far: k columns with distances 1 to k, by 1/N."""
    ids = np.zeros((1, 7, 20), np.int32)
    ids[..., :8] = 1
    target = {"mask": ids, **maps(ids, None)}
    loss = build_boundary(**facts())

    def of(columns):
        predicted = np.zeros(ids.shape, int)
        predicted[..., :columns] = 1
        return float(loss(target, 1e3 * np.eye(CLASSES, dtype=np.float32)[predicted])[0])

    for k in (1, 3):
        assert of(8 + k) - of(8) == pytest.approx(sum(range(1, k + 1)) * 7 / ids.size, rel=1e-5)
        assert of(8 - k) - of(8) == pytest.approx(sum(range(1, k + 1)) * 7 / ids.size, rel=1e-5)


def test_far_from_a_border_a_pixel_counts_as_256_px():
    mask = np.zeros((1, 1, 300), np.int32)
    mask[..., 0] = 1
    loss = build_boundary(**facts((0.5, 0.5), num_classes=2), unit="mm")
    sure = 1e3 * np.eye(2, dtype=np.float32)[np.ones_like(mask)]
    made = {
        "squared_distance": np.minimum(np.arange(300.0) ** 2, FAR)[None, None, :, None],
        "squared_distance_to_others": np.where(mask == 1, 1.0, 0.0)[..., None],
    }
    target = {name: np.repeat(values, 2, axis=-1).astype(np.uint16) for name, values in made.items()}
    expected = 0.5 * (np.minimum(np.arange(1, 300), 256).sum() - 1) / 300
    assert float(loss({"mask": mask, **target}, sure)[0]) == pytest.approx(expected, rel=1e-5)


def nearest_two(mask, spacing, instances):
    """Squared distances to the two nearest of some instances, bool arrays, in the form of the store."""
    square = spacing is None or spacing[0] == spacing[1]
    scaled = (1.0, 1.0) if square else spacing
    found = np.sort([distances(mask, there, scaled) ** 2 for there in instances], axis=0)[:2]
    made = np.stack(found, -1)[None]
    return np.minimum(np.round(made), FAR).astype(np.uint16) if square else made.astype(np.float32)


@pytest.mark.parametrize("class_weights", [None, [0.25, 2.0, 1.0]])
@pytest.mark.parametrize(
    "spacing, sigma",
    [
        (None, {"sigma_px": 2.0}),
        ((0.5, 0.5), {"sigma_px": 2.0}),
        ((0.5, 0.5), {"sigma_px": None, "sigma_mm": 2.0}),
        ((2.0, 0.5), {"sigma_px": 2.0}),
        ((2.0, 0.5), {"sigma_px": None, "sigma_mm": 2.0}),
    ],
)
def test_border_weights_are_equation_2(logits, spacing, sigma, class_weights):
    ids = np.zeros((9, 11), np.int32)
    ids[1:4, 1:4], ids[5:8, 3:6], ids[2:7, 8:10], ids[8, 10] = 1, 1, 2, IGNORED
    instances = [np.zeros(ids.shape, bool) for _ in range(3)]
    for there, box in zip(instances, [(slice(1, 4), slice(1, 4)), (slice(5, 8), slice(3, 6)),
                                      (slice(2, 7), slice(8, 10))], strict=True):  # fmt: skip
        there[box] = True
    loss = build_border_weighted_cross_entropy(**facts(spacing), w0=7.0, class_weights=class_weights, **sigma)
    scaled, _ = in_unit(spacing, "mm" if sigma.get("sigma_mm") else "px")
    d1, d2 = np.sort([distances(ids, there, scaled) for there in instances], axis=0)[:2]
    known = ids != IGNORED
    weights = np.array(class_weights or [1.0] * CLASSES)[np.where(known, ids, 0)]
    weights = weights + 7.0 * np.exp(-((d1 + d2) ** 2) / (2 * 2.0**2))
    p = np.take_along_axis(probabilities(logits[0]), np.where(known, ids, 0)[..., None], -1)[..., 0]
    target = {"mask": ids[None], "nearest_instances": nearest_two(ids, spacing, instances)}
    assert float(loss(target, logits[:1])[0]) == pytest.approx((-weights * np.log(p))[known].mean(), rel=1e-5)


@pytest.mark.parametrize("spacing", [None, (2.0, 0.5)])
def test_without_two_instances_border_weights_are_plain_cross_entropy(mask, logits, spacing):
    none = np.full((*mask.shape, 2), FAR, np.uint16) if spacing is None else np.full((*mask.shape, 2), np.inf)
    one = none.copy()
    one[..., 0] = 0  # every pixel lies on the only instance
    plain = build_cross_entropy(**facts(spacing), class_weights=[1.0, 2.0, 0.5])({"mask": mask}, logits)
    loss = build_border_weighted_cross_entropy(**facts(spacing), class_weights=[1.0, 2.0, 0.5])
    for made in (none, one):
        actual = loss({"mask": mask, "nearest_instances": made}, logits)
        np.testing.assert_allclose(actual, plain, rtol=1e-6)


@pytest.mark.parametrize("spacing, unit", UNITS)
def test_a_map_comes_in_the_unit_that_is_asked_for(spacing, unit):
    scaled, _ = in_unit(spacing, unit)
    square = spacing is None or spacing[0] == spacing[1]
    stored = np.uint16([3**2, FAR]) if square else np.float32([(3 * spacing[0]) ** 2, np.inf])
    found = MapUnits(spacing, unit).squared(stored)
    np.testing.assert_allclose(found, [(3 * scaled[0]) ** 2, np.inf], rtol=1e-6)


@pytest.mark.parametrize(
    "build, section, message",
    [
        (build_boundary, {"unit": "mm"}, r"loss\.unit: expected pixels, as the data set has no spacing"),
        (build_boundary, {"num_classes": 1}, r"loss\.include_background"),
        (build_hausdorff_dt, {"alpha": 0.0}, r"loss\.alpha: expected a number above 0"),
        (build_border_weighted_cross_entropy, {"w0": -1.0}, r"loss\.w0: expected a number of at least 0"),
        (
            build_border_weighted_cross_entropy,
            {"sigma_px": 0.0},
            r"loss\.sigma_px: expected a number above 0",
        ),
        (build_border_weighted_cross_entropy, {"sigma_px": None}, r"loss\.sigma_mm: expected one sigma"),
        (build_border_weighted_cross_entropy, {"sigma_mm": 1.0}, r"loss\.sigma_mm: expected one sigma"),
        (
            build_border_weighted_cross_entropy,
            {"sigma_px": None, "sigma_mm": 1.0},
            r"loss\.sigma_mm: expected pixels, as the data set has no spacing",
        ),
        (build_border_weighted_cross_entropy, {"class_weights": [1.0]}, r"loss\.class_weights: expected 3"),
    ],
)
def test_values_out_of_range_are_refused(build, section, message):
    with pytest.raises(SegframeError, match=message):
        build(**facts(**section))
