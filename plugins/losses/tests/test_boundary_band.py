"""The boundary band against its definition over all pairs of pixels, and against geometry."""

import itertools

import numpy as np
import pytest

from segframe import IGNORED, SegframeError
from segframe_losses.boundary_band import boundary
from segframe_losses.surface_builder import build_boundary_band

FACTS = {"num_classes": 3, "ignore_index": IGNORED}


def boundary_by_definition(mask):
    """[(row, column)] of the boundary pixels, one by one."""
    height, width = mask.shape
    found = []
    for row, column in itertools.product(range(height), range(width)):
        beside = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
        others = [mask[r, c] for r, c in beside if 0 <= r < height and 0 <= c < width]
        known = mask[row, column] != IGNORED
        if known and any(other not in (IGNORED, mask[row, column]) for other in others):
            found.append((row, column))
    return np.array(found, np.float64).reshape(-1, 2)


def by_definition(mask, prediction, band, spacing):
    edge = boundary_by_definition(mask)
    wrong = counted = 0
    for row, column in np.argwhere(mask != IGNORED):
        apart = np.sqrt(np.sum(((edge - (row, column)) * spacing) ** 2, axis=1))
        if (apart <= band * (1 + 1e-9)).any():
            counted += 1
            wrong += int(mask[row, column] != prediction[row, column])
    return wrong / counted if counted else np.nan


def cases(shape):
    """(mask, prediction) of random, blocky, one-class and partly ignored images of a shape."""
    random = np.random.default_rng(shape[0] * 100 + shape[1])

    def ids(values=3, block=1):
        small = random.integers(values, size=[-(-side // block) for side in shape])
        return np.kron(small, np.ones((block, block), int))[: shape[0], : shape[1]].astype(np.uint8)

    yield ids(), ids()
    yield ids(block=5), ids(block=4)
    yield ids(2, block=6), ids()
    yield np.full(shape, 1, np.uint8), ids()
    for share in (0.1, 0.6, 1.0):
        mask = ids(block=4)
        mask[random.random(shape) < share] = IGNORED
        yield mask, ids(block=4)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (13, 21), (17, 5)], ids=str)
@pytest.mark.parametrize("spacing", [None, (5.0, 0.5), (0.3, 0.7)], ids=str)
def test_the_score_is_the_definition(shape, spacing):
    for unit, band in itertools.product(("px", "mm") if spacing else ("px",), (0.0, 0.9, 2.0, 3.0)):
        metric = build_boundary_band(
            **FACTS, spacing=spacing, **({"band_px": None, "band_mm": None} | {f"band_{unit}": band})
        )
        used = spacing if unit == "mm" else (1.0, 1.0)
        for mask, prediction in cases(shape):
            found = metric(mask, prediction)
            assert list(found) == ["boundary_error"]
            np.testing.assert_equal(found["boundary_error"], by_definition(mask, prediction, band, used))


def test_the_boundary_is_the_definition_and_ignored_pixels_make_none():
    for mask, _ in cases((13, 21)):
        np.testing.assert_array_equal(
            np.argwhere(boundary(mask, mask != IGNORED)), boundary_by_definition(mask).astype(int)
        )
    mask = np.array([[0, 0, IGNORED, 1, 1, 1]], np.uint8)
    assert not boundary(mask, mask != IGNORED).any()


def test_across_a_straight_boundary_the_band_is_eight_pixels():
    mask = np.zeros((6, 40), np.uint8)
    mask[:, 20:] = 1
    prediction = mask.copy()
    prediction[:, 23] = 0  # the fourth pixel of the right side, 3 px from its boundary pixel
    metric = build_boundary_band(**FACTS, spacing=None)
    assert metric(mask, prediction)["boundary_error"] == 1 / 8
    prediction[:, :10] = prediction[:, 30:] = 2  # far away: does not count
    assert metric(mask, prediction)["boundary_error"] == 1 / 8
    assert metric(mask, 1 - mask)["boundary_error"] == 1


def test_an_image_without_a_boundary_is_undefined():
    metric = build_boundary_band(**FACTS, spacing=None)
    for value in (0, 2, IGNORED):
        assert np.isnan(
            metric(np.full((5, 8), value, np.uint8), np.zeros((5, 8), np.uint8))["boundary_error"]
        )


def test_a_band_in_mm_follows_the_spacing():
    mask = np.zeros((30, 30), np.uint8)
    mask[15:] = 1
    prediction = np.zeros_like(mask)
    prediction[16:] = 1  # one row of pixels is wrong
    errors = [
        build_boundary_band(**FACTS, spacing=(rows, 1.0), band_px=None, band_mm=3.0)(mask, prediction)
        for rows in (1.0, 3.0, 4.0)
    ]
    assert [error["boundary_error"] for error in errors] == [1 / 8, 1 / 4, 1 / 2]


@pytest.mark.parametrize(
    "section, message",
    [
        ({"band_mm": 1.0}, r"metrics\.band_mm: expected one band.* got band_px=3 and band_mm=1\."),
        ({"band_px": None}, r"expected one band.* got band_px=null and band_mm=null"),
        ({"band_px": -1.0}, r"metrics\.band_px: expected a number of at least 0, got -1\.0"),
        ({"band_px": None, "band_mm": 1.0}, r"metrics\.band_mm: expected data with a spacing"),
    ],
)
def test_wrong_bands_are_refused(section, message):
    with pytest.raises(SegframeError, match=message):
        build_boundary_band(**FACTS, spacing=None, **section)


def test_the_contract_says_the_band():
    assert build_boundary_band(**FACTS, spacing=None).contract["band"] == "3 px"
    metric = build_boundary_band(**FACTS, spacing=(5.0, 0.5), band_px=None, band_mm=1.5)
    assert (metric.contract["band"], metric.contract["spacing_mm"]) == ("1.5 mm", [5.0, 0.5])
