"""The makers of maps against a direct reading of what they promise, pixel by pixel."""

import numpy as np
import pytest
from scipy import ndimage

from segframe import IGNORED
from segframe.catalog import build, catalog
from segframe.manager import plugin_manager

PLUGINS = plugin_manager()
CLASSES = 3
NAMES = ("squared_distance", "squared_distance_to_others", "nearest_instances")
SPACINGS = [None, (0.5, 0.5), (5.0, 0.5)]


def maker(name, spacing=None, num_classes=CLASSES):
    section = {"name": name}
    return build(PLUGINS, "map", section, num_classes=num_classes, ignore_index=IGNORED, spacing=spacing)


def nearest_by_definition(there, spacing):
    """(height, width) squared distance to the nearest pixel that is there: uint16 px² or float32 mm²."""
    square = spacing is None or spacing[0] == spacing[1]
    unit = np.ones(2) if square else np.array(spacing)
    pixels = np.stack(np.indices(there.shape), -1) * unit
    squared = np.full(there.shape, np.inf)
    for pixel in np.argwhere(there) * unit:
        squared = np.minimum(squared, np.square(pixels - pixel).sum(-1))
    return np.minimum(squared, 65535).astype(np.uint16) if square else squared.astype(np.float32)


def by_definition(name, mask, spacing):
    if name == "squared_distance":
        wanted = [mask == c for c in range(CLASSES)]
    elif name == "squared_distance_to_others":
        wanted = [(mask != c) & (mask != IGNORED) for c in range(CLASSES)]
    else:
        wanted = []
        for c in range(1, CLASSES):
            parts, count = ndimage.label(mask == c, np.ones((3, 3)))
            wanted += [parts == number + 1 for number in range(count)]
        wanted += [np.zeros(mask.shape, bool)] * 2
    maps = np.stack([nearest_by_definition(there, spacing) for there in wanted], axis=-1)
    return np.sort(maps, axis=-1)[..., :2] if name == "nearest_instances" else maps


def masks(height, width):
    """Speckled, blobs, with ignored pixels, of one class, all ignored."""
    random = np.random.default_rng(height * 100 + width)
    speckled = random.integers(CLASSES, size=(height, width)).astype(np.uint8)
    blobs = np.where(random.random((height, width)) < 0.06, speckled, 0).astype(np.uint8)
    ignored = np.where(random.random((height, width)) < 0.3, IGNORED, speckled).astype(np.uint8)
    full = [np.full((height, width), value, np.uint8) for value in (0, 1, IGNORED)]
    return [speckled, blobs, ignored, *full]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spacing", SPACINGS, ids=str)
@pytest.mark.parametrize("height, width", [(1, 1), (1, 9), (7, 1), (13, 21)])
def test_a_map_is_its_definition(name, spacing, height, width):
    made = maker(name, spacing)
    for mask in masks(height, width):
        before, found = mask.copy(), made.make(mask)
        expected = by_definition(name, mask, spacing)
        assert (found.shape, found.dtype) == ((height, width, made.channels), made.dtype)
        np.testing.assert_array_equal(mask, before)
        if found.dtype == np.uint16:
            np.testing.assert_array_equal(found, expected)
        else:
            np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_pixels_beyond_255_px_are_far(name):
    """A strip of 300 px: the numbers follow from geometry."""
    mask = np.zeros((2, 300), np.uint8)
    mask[:, 0] = 1
    found, column = maker(name).make(mask), np.arange(300)
    distance = np.where(column < 256, np.minimum(column, 255) ** 2, 65535)
    if name == "squared_distance":
        np.testing.assert_array_equal(found[0, :, 1], distance)
        assert (found[..., 2] == 65535).all() and found[0, 0, 0] == 1 and not found[:, 1:, 0].any()
    elif name == "squared_distance_to_others":
        np.testing.assert_array_equal(found[0, :, 0], distance)
        assert found[0, 0, 1] == 1 and not found[..., 2].any()
    else:
        np.testing.assert_array_equal(found[0, :, 0], distance)
        assert (found[..., 1] == 65535).all()


@pytest.mark.parametrize("spacing", [None, (5.0, 0.5)], ids=str)
def test_the_second_instance_is_found_however_far(spacing):
    """Two instances 250 px apart and one between, beyond the first box that is looked at."""
    mask = np.zeros((9, 290), np.uint8)
    mask[4, 3] = mask[2, 253] = 1
    mask[8, 100:103] = 2
    expected = by_definition("nearest_instances", mask, spacing)
    np.testing.assert_allclose(maker("nearest_instances", spacing).make(mask), expected, rtol=1e-6)


def test_large_masks_do_not_overflow():
    mask = np.zeros((1, 47_000), np.uint8)  # 46,341² is more than int32 holds
    mask[0, 0] = 1
    assert (maker("squared_distance").make(mask)[0, 256:, 1] == 65535).all()


def test_neighbours_at_a_corner_are_one_instance_and_other_classes_are_others():
    mask = np.zeros((5, 7), np.uint8)
    mask[0, 0] = mask[1, 1] = 1
    assert maker("nearest_instances").make(mask)[..., 1].min() == 65535
    mask[2, 2] = 2
    assert maker("nearest_instances").make(mask)[1, 1].tolist() == [0, 2]


@pytest.mark.parametrize("name", NAMES)
def test_the_version_says_what_the_values_depend_on(name):
    versions = [maker(name, spacing).version for spacing in (None, (1.0, 1.0), (2.0, 1.0), (1.0, 2.0))]
    assert versions[0] == versions[1] and len(set(versions)) == 3
    assert maker(name, num_classes=4).version != versions[0]


def test_all_three_are_on_offer():
    assert set(NAMES) <= set(catalog(PLUGINS, "map"))
