"""Tiles with Gaussian weights: against SciPy's Gaussian, against the whole image, in bounded pieces."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import convolve, gaussian_filter

from segframe.plugins.turned_views import VIEWS, averaged
from segframe.sliding_window import bands, importance, starts, weight_sums

KERNEL = np.random.default_rng(1).normal(size=(3, 3))


def network(images):
    """(batch, height, width, 2) of what a 3x3 neighbourhood says; zeros around a tile, as "same" padding."""
    first = np.stack([convolve(image[..., 0].astype(float), KERNEL, mode="constant") for image in images])
    return np.stack([first, images[..., 0] ** 2.0], -1).astype(np.float32)


def through(image, tile, overlap, at_once=3, logits=network, multiple=1):
    """Logits by tiles, each row of the image asked for once and in order."""
    asked = []

    def rows(start, stop):
        asked.append((start, stop))
        return image[start:stop]

    found = list(
        bands(rows, image.shape[:2], logits, tile=tile, overlap=overlap, at_once=at_once, multiple=multiple)
    )
    assert [start for start, _ in asked] == [0, *(stop for _, stop in asked[:-1])]
    assert asked[-1][1] == image.shape[0] and all(start <= stop for start, stop in asked)
    np.testing.assert_array_equal(np.concatenate([part for part, _ in found]), image)
    return np.concatenate([part for _, part in found])


def image(height, width):
    return np.random.default_rng(height * width).normal(size=(height, width, 1)).astype(np.float32)


@given(st.integers(1, 300), st.integers(1, 80), st.floats(0, 0.9))
@settings(max_examples=300, deadline=None)
def test_tiles_cover_an_axis_and_overlap_as_much_as_asked_for(size, tile, overlap):
    found = starts(size, tile, overlap)
    assert found[0] == 0 and found[-1] == max(0, size - tile)
    steps = np.diff(found)
    assert (steps > 0).all() and (steps <= np.ceil(tile * (1 - overlap)) + 1).all()
    assert (steps <= tile).all()
    assert len(steps) == 0 or steps.max() - steps.min() <= 1


def test_the_weights_are_the_gaussian_of_an_eighth_of_the_tile():
    """As nnU-Net makes them: a point blurred by SciPy; of odd size, so that the middle is one."""
    point = np.zeros(65)
    point[32] = 1
    blurred = gaussian_filter(point, 65 / 8, mode="constant", truncate=8)
    np.testing.assert_allclose(importance(65), blurred / blurred.max(), rtol=1e-4)
    assert importance(512).min() > np.exp(-8) * 0.99


@pytest.mark.parametrize(
    "size, tile, overlap", [(100, 32, 0.25), (77, 16, 0.5), (9, 16, 0.25), (33, 32, 0.0)]
)
def test_the_sum_of_weights_is_that_of_the_tiles_everywhere_above_zero(size, tile, overlap):
    expected = np.zeros(size)
    for start in starts(size, tile, overlap):
        expected[start : start + tile] += importance(min(size, tile))
    np.testing.assert_allclose(weight_sums(size, tile, overlap), expected, rtol=1e-6)
    assert expected.min() > 3e-4


@pytest.mark.parametrize("size", [(100, 61), (16, 16), (17, 90), (5, 40), (1, 1), (64, 15)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_blended_tiles_are_the_weighted_mean_of_all_tiles(size, overlap):
    """Against the definition in float64, on the whole image at once."""
    whole, tile = image(*size), 16
    height, width = min(tile, size[0]), min(tile, size[1])
    weights = np.outer(importance(height), importance(width)).astype(np.float64)[..., None]
    top, bottom = np.zeros((*size, 2)), np.zeros((*size, 1))
    for row in starts(size[0], tile, overlap):
        for column in starts(size[1], tile, overlap):
            at = np.s_[row : row + height, column : column + width]
            top[at] += weights * network(whole[at][None])[0]
            bottom[at] += weights
    np.testing.assert_allclose(through(whole, tile, overlap), top / bottom, rtol=1e-4, atol=1e-5)


def test_what_sees_one_pixel_gives_the_same_as_the_whole_image():
    whole = image(83, 59)
    np.testing.assert_allclose(
        through(whole, 16, 0.25)[..., 1], network(whole[None])[0][..., 1], rtol=2e-6, atol=1e-7
    )


def test_the_edge_of_a_tile_counts_least():
    """A network that sees 3x3 pixels is wrong at a tile's edge alone, where a neighbour has its middle."""
    whole = image(96, 96)
    expected = network(whole[None])[0][..., 0]
    error = np.abs(through(whole, 32, 0.5)[..., 0] - expected)
    assert error.max() < 0.01 * np.abs(expected).max()
    inside = np.abs(through(whole, 96, 0.5)[..., 0] - expected)  # one tile: nothing to blend
    np.testing.assert_allclose(inside, 0, atol=1e-5)


@pytest.mark.parametrize("views", sorted(VIEWS))
def test_views_are_turned_back_and_averaged(views):
    """What does not know up from down is left as it is; what does is averaged over all its symmetries."""
    images = np.random.default_rng(3).normal(size=(2, 6, 9, 1)).astype(np.float32)
    seen = []

    def pointwise(views):
        seen.append(views)
        return np.concatenate([views, views**2], -1)

    np.testing.assert_allclose(
        averaged(pointwise, views)(images), np.concatenate([images, images**2], -1), rtol=1e-5
    )
    different = {view.shape + (view.tobytes(),) for view in seen}
    assert len(different) == len(VIEWS[views]) == {"none": 1, "flips": 4, "turns": 4, "all": 8}[views]
    found = averaged(network, views)(images)[..., 0]
    symmetric = np.mean(
        [np.rot90(KERNEL[:, ::-1] if flip else KERNEL, turns) for turns, flip in VIEWS[views]], axis=0
    )
    expected = [convolve(one[..., 0].astype(float), symmetric, mode="constant") for one in images]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def pooling(images):
    """Means of 4 x 4 pixels, enlarged again: a tile that begins elsewhere takes other pixels together."""
    count, height, width, _ = images.shape
    images = np.pad(images, [(0, 0), (0, -height % 4), (0, -width % 4), (0, 0)], mode="edge")
    means = images.reshape(count, -(-height // 4), 4, -(-width // 4), 4, 1).mean((2, 4))
    return means.repeat(4, 1).repeat(4, 2)[:, :height, :width]


@pytest.mark.parametrize("size", [(83, 59), (80, 60), (3, 90), (1, 1), (17, 16)])
def test_tiles_begin_where_the_network_pools(size):
    whole = image(*size)
    found = through(whole, 16, 0.25, logits=pooling, multiple=4)
    np.testing.assert_allclose(found, pooling(whole[None])[0], rtol=1e-4, atol=1e-6)
