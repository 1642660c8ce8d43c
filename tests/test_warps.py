"""Affine and elastic against SciPy's map_coordinates in float64, and what must hold of any warp."""

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import map_coordinates

from segframe import SegframeError
from segframe.assemble import joined
from segframe.plugins.augmentations import build_affine, build_elastic, build_flip
from segframe.plugins.image_transforms import stream
from segframe.plugins.resampling import resample

SIZES = [(13, 21), (16, 16), (1, 7)]


def sample(height, width, channels=2):
    random = np.random.default_rng(0)
    image = random.random((height, width, channels)).astype(np.float32)
    return image, random.integers(3, size=(height, width)).astype(np.int32)


def applied(augment, image, mask, seed):
    moved, target = augment(tf.constant(image), {"mask": tf.constant(mask)}, tf.constant([seed, 5]))
    return moved.numpy(), target["mask"].numpy()


def by_scipy(image, mask, places):
    """Bilinear image and nearest mask at (2, height, width) float64 places, mirrored outside."""
    channels = [
        map_coordinates(channel.astype(np.float64), places, order=1, mode="reflect")
        for channel in np.moveaxis(image, -1, 0)
    ]
    return np.stack(channels, axis=-1), map_coordinates(mask, places, order=0, mode="reflect")


def assert_same(found, expected, places):
    np.testing.assert_allclose(found[0], expected[0], atol=2e-4)  # float32 places of up to 100 pixels
    # Places half-way between two pixels, to float32's rounding, may go to either.
    clear = (np.abs(places - np.floor(places) - 0.5) > 1e-4).all(axis=0)
    assert clear.mean() > 0.95
    np.testing.assert_array_equal(found[1][clear], expected[1][clear])


@pytest.mark.parametrize("size", SIZES)
def test_resample_is_scipys_far_outside_too(size):
    image, mask = sample(*size)
    places = np.random.default_rng(1).uniform(-50, 80, size=(2, *size)).astype(np.float32)
    moved, target = resample(tf.constant(image), {"mask": tf.constant(mask)}, *map(tf.constant, places))
    places = places.astype(np.float64)
    assert_same((moved.numpy(), target["mask"].numpy()), by_scipy(image, mask, places), places)


def test_resample_at_the_pixels_themselves_is_the_identity_to_the_bit():
    image, mask = sample(13, 21)
    places = np.meshgrid(np.arange(13.0), np.arange(21.0), indexing="ij")
    maps = np.random.default_rng(2).random((13, 21, 4)).astype(np.float32)
    target = {"mask": tf.constant(mask), "maps": tf.constant(maps)}
    moved, target = resample(tf.constant(image), target, *(tf.constant(p, tf.float32) for p in places))
    np.testing.assert_array_equal(moved, image)
    np.testing.assert_array_equal(target["mask"], mask)
    np.testing.assert_array_equal(target["maps"], maps)


def affine_places(size, seed, zoom, degrees, slant, shift, pixels=None):
    """The formula of Affine in float64, with its draws."""
    draws = tf.random.stateless_uniform(
        (5,), stream(tf.constant([seed, 5]), "affine"), -1.0, 1.0, alg="philox"
    ).numpy()
    factor, angle = math.exp(draws[0] * math.log(1 + zoom)), draws[1] * math.radians(degrees)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    centre = (np.array(size) - 1) / 2
    if pixels is None:
        pixels = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1)
    moved = pixels - centre - shift * draws[3:] * np.array(size)
    shear = np.array([[1, 0], [math.tan(draws[2] * math.radians(slant)), 1]])
    return np.moveaxis(centre + moved @ (turn @ shear).T / factor, -1, 0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "zoom, degrees, slant, shift",
    [(0.5, 0.0, 0.0, 0.0), (0.0, 45.0, 0.0, 0.0), (0.0, 0.0, 30.0, 0.0), (0.3, 180.0, 20.0, 0.4)],
)
def test_affine_is_its_formula(size, zoom, degrees, slant, shift):
    image, mask = sample(*size)
    augment = build_affine(zoom=zoom, rotation_degrees=degrees, shear_degrees=slant, shift_share=shift)
    for seed in range(4):
        places = affine_places(size, seed, zoom, degrees, slant, shift)
        assert_same(applied(augment, image, mask, seed), by_scipy(image, mask, places), places)


def keys(x):
    """Cubic convolution's kernel with a = -1/2 (Keys 1981, equation 15)."""
    x = abs(x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def elastic_places(size, seed, points, std_share):
    """The formula of Elastic in float64, with its draws."""
    drawn = tf.random.stateless_normal(
        (2, points + 2, points + 2), stream(tf.constant([seed, 5]), "elastic"), alg="philox"
    )
    vectors = drawn.numpy().astype(np.float64) * std_share * min(size)
    weights = [
        np.array(
            [[keys(1 + i / max(n - 1, 1) * (points - 1) - j) for j in range(points + 2)] for i in range(n)]
        )
        for n in size
    ]
    moved = np.einsum("ij,djk,lk->dil", weights[0], vectors, weights[1])
    return np.stack(np.meshgrid(*map(np.arange, size), indexing="ij")) + moved, vectors


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("points, std_share", [(2, 0.1), (3, 0.02), (5, 0.3)])
def test_elastic_is_its_formula(size, points, std_share):
    image, mask = sample(*size)
    augment = build_elastic(points=points, std_share=std_share)
    for seed in range(4):
        places, _ = elastic_places(size, seed, points, std_share)
        assert_same(applied(augment, image, mask, seed), by_scipy(image, mask, places), places)


def test_elastic_goes_through_the_vectors_of_its_grid():
    places, vectors = elastic_places((9, 13), 3, 3, 0.1)
    still = np.stack(np.meshgrid(np.arange(9), np.arange(13), indexing="ij"))
    found = (places - still)[:, ::4, ::6]
    np.testing.assert_allclose(found, vectors[:, 1:-1, 1:-1], atol=1e-12)


STILL = [build_affine(zoom=0.0), build_elastic(std_share=0.0)]
MOVING = [
    build_affine(zoom=0.5, rotation_degrees=30.0, shear_degrees=20.0, shift_share=0.2),
    build_elastic(std_share=0.1),
]
NAMES = ["affine", "elastic"]


@pytest.mark.parametrize("augment", STILL, ids=NAMES)
def test_no_strength_is_the_identity(augment):
    image, mask = sample(13, 21)
    for seed in range(4):
        moved, ids = applied(augment, image, mask, seed)
        np.testing.assert_allclose(moved, image, atol=1e-5)
        np.testing.assert_array_equal(ids, mask)


@pytest.mark.parametrize("augment", MOVING, ids=NAMES)
def test_ids_and_ignored_pixels_are_those_that_were_there(augment):
    image, mask = sample(13, 21)
    mask[3:6, 2:9] = 255
    for seed in range(16):
        moved, ids = applied(augment, image, mask, seed)
        assert set(np.unique(ids)) <= {0, 1, 2, 255} and 255 in ids
        assert image.min() <= moved.min() and moved.max() <= image.max()
        _, without = applied(augment, image, np.where(mask == 255, 1, mask), seed)
        np.testing.assert_array_equal(without, np.where(ids == 255, 1, ids))


@pytest.mark.parametrize("augment", MOVING, ids=NAMES)
def test_it_moves_something_and_differently_by_seed(augment):
    image, mask = sample(13, 21)
    found = {applied(augment, image, mask, seed)[0].tobytes() for seed in range(8)}
    assert len(found | {image.tobytes()}) == 9


@pytest.mark.parametrize("build", [build_affine, build_elastic], ids=NAMES)
def test_the_probability_is_the_share_that_is_changed_at_all(build):
    image, mask = sample(13, 21)
    always = build(probability=1.0)
    half = build(probability=0.5)
    assert all(np.array_equal(applied(build(probability=0.0), image, mask, s)[0], image) for s in range(4))
    changed = 0
    for seed in range(64):
        moved, ids = applied(half, image, mask, seed)
        if np.array_equal(moved, image):
            np.testing.assert_array_equal(ids, mask)
        else:
            changed += 1
            np.testing.assert_array_equal(moved, applied(always, image, mask, seed)[0])
    assert 18 <= changed <= 46  # 32 of 64 expected; outside it has probability 6e-4


def test_affine_keeps_the_centre_and_zooms_by_no_more_than_it_says():
    """A disc of radius 8 about the centre: its area changes by the square of the factor."""
    rows, columns = np.mgrid[:33, :33] - 16
    mask = (rows**2 + columns**2 <= 64).astype(np.int32)
    areas = []
    for seed in range(32):
        _, ids = applied(build_affine(zoom=0.25), np.zeros((33, 33, 1), np.float32), mask, seed)
        assert ids[16, 16] == 1 and np.array_equal(ids, ids[::-1, ::-1])
        areas.append(ids.sum() / mask.sum())
    assert 0.6 < min(areas) < 0.75 and 1.35 < max(areas) < 1.65  # 0.8^2 and 1.25^2, in whole pixels


@pytest.mark.parametrize(
    "build, section, message",
    [
        (build_affine, {"zoom": -0.1}, r"augment\.zoom: expected a number of at least 0"),
        (
            build_affine,
            {"rotation_degrees": 181.0},
            r"augment\.rotation_degrees: expected .* 0 to 180, got 181",
        ),
        (build_affine, {"shear_degrees": 90.0}, r"augment\.shear_degrees: expected .* 0 to 60, got 90"),
        (build_affine, {"shift_share": 1.5}, r"augment\.shift_share: .* from 0 to 1"),
        (build_affine, {"probability": 1.5}, r"augment\.probability: .* from 0 to 1"),
        (build_elastic, {"points": 1}, r"augment\.points: expected a number of at least 2, got 1"),
        (build_elastic, {"std_share": -1.0}, r"augment\.std_share: .* from 0 to 1"),
        (build_elastic, {"probability": -0.5}, r"augment\.probability: .* from 0 to 1"),
    ],
)
def test_values_out_of_range_are_refused(build, section, message):
    with pytest.raises(SegframeError, match=message):
        build(**section)


@pytest.mark.parametrize("size", SIZES)
def test_affine_and_elastic_together_are_read_once_at_the_places_of_both(size):
    """Against the formulas in float64: SciPy at the places that affine has for elastic's places."""
    image, mask = sample(*size)
    affine = build_affine(zoom=0.3, rotation_degrees=40.0, shear_degrees=10.0, shift_share=0.1)
    (both,) = joined([affine, build_elastic(std_share=0.05)])
    for seed in range(4):
        bent, _ = elastic_places(size, seed, 3, 0.05)
        places = affine_places(size, seed, 0.3, 40.0, 10.0, 0.1, np.moveaxis(bent, 0, -1))
        assert_same(applied(both, image, mask, seed), by_scipy(image, mask, places), places)


def test_one_of_the_two_alone_is_what_it_is_by_itself():
    image, mask = sample(13, 21)
    affine, elastic = build_affine(probability=0.5), build_elastic(probability=0.5)
    (both,) = joined([affine, elastic])
    seen = set()
    for seed in range(24):
        one, two = (applied(augment, image, mask, seed)[0] for augment in (affine, elastic))
        moved = tuple(not np.array_equal(found, image) for found in (one, two))
        seen.add(moved)
        if moved != (True, True):
            np.testing.assert_array_equal(applied(both, image, mask, seed)[0], one if moved[0] else two)
    assert len(seen) == 4


def test_only_an_affine_before_an_elastic_one_is_joined_with_it():
    affine, elastic, flip = build_affine(), build_elastic(), build_flip()
    assert len(joined([flip, affine, elastic, flip])) == 3
    for apart in ([affine, flip, elastic], [elastic, affine], [elastic], []):
        assert joined(apart) == tuple(apart)
