"""Surface metrics against their definition over all pairs of pixels, against ITK, and against geometry."""

import itertools

import numpy as np
import pytest
import SimpleITK as sitk

from segframe import IGNORED, SegframeError
from segframe_losses.surface_builder import build_surface
from segframe_losses.surface_metrics import surface, surface_distances

FACTS = {"num_classes": 3, "ignore_index": IGNORED}
SHAPES = [(1, 1), (1, 9), (7, 1), (2, 2), (13, 21), (17, 5)]
SPACINGS = [None, (1.0, 1.0), (5.0, 0.5), (0.3, 0.7)]


def surface_by_definition(ids, mask, c):
    """[(row, column)] of the pixels of class c, one by one; `ids` are looked at where `mask` is valid."""
    height, width = mask.shape
    found = []
    for row, column in np.argwhere((ids == c) & (mask != IGNORED)):
        for r, k in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            outside = not (0 <= r < height and 0 <= k < width)
            if outside or mask[r, k] != IGNORED and ids[r, k] != c:
                found.append((row, column))
                break
    return np.array(found, np.float64).reshape(-1, 2)


def distances_by_definition(mask, prediction, c, spacing):
    """Of each surface pixel to the nearest of the other surface, over all pairs."""
    s, p = surface_by_definition(mask, mask, c), surface_by_definition(prediction, mask, c)
    if not (len(s) and len(p)):
        return None
    pairs = np.sqrt(np.sum(((s[:, None] - p[None]) * spacing) ** 2, axis=-1))
    return pairs.min(1), pairs.min(0)


def by_definition(mask, prediction, spacing, tolerance, tolerance_spacing):
    """{name: (3,) scores}."""
    found = {name: np.full(3, np.nan) for name in ("hd95", "assd", "surface_dice")}
    for c in range(3):
        in_mask, in_prediction = (mask == c).any(), ((prediction == c) & (mask != IGNORED)).any()
        if in_mask != in_prediction:
            diagonal = np.sqrt((mask.shape[0] * spacing[0]) ** 2 + (mask.shape[1] * spacing[1]) ** 2)
            found["hd95"][c], found["assd"][c], found["surface_dice"][c] = diagonal, diagonal, 0
        distances = distances_by_definition(mask, prediction, c, spacing)
        if distances is None:
            continue
        found["hd95"][c] = max(np.quantile(one, 0.95) for one in distances)
        found["assd"][c] = sum(one.sum() for one in distances) / sum(len(one) for one in distances)
        near = distances_by_definition(mask, prediction, c, tolerance_spacing)
        found["surface_dice"][c] = np.mean(np.concatenate(near) <= tolerance)
    return found


def cases(shape):
    """(mask, prediction) of random, blocky, one-sided, full and partly ignored images of a shape."""
    random = np.random.default_rng(shape[0] * 100 + shape[1])

    def ids(values=3, block=1):
        small = random.integers(values, size=[-(-side // block) for side in shape])
        return np.kron(small, np.ones((block, block), int))[: shape[0], : shape[1]].astype(np.uint8)

    yield ids(), ids()
    yield ids(block=4), ids(block=3)
    yield ids(2), ids()  # class 2 in the prediction only
    yield ids(), ids(2)
    yield np.zeros(shape, np.uint8), ids()
    yield np.full(shape, 1, np.uint8), np.full(shape, 1, np.uint8)
    yield np.full(shape, 1, np.uint8), np.full(shape, 2, np.uint8)
    for share in (0.1, 0.6, 1.0):
        mask = ids(block=2)
        mask[random.random(shape) < share] = IGNORED
        yield mask, ids(block=2)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("spacing", SPACINGS, ids=str)
def test_scores_are_the_definition(shape, spacing):
    used = spacing or (1.0, 1.0)
    for unit, tolerance in itertools.product(("px", "mm") if spacing else ("px",), (0.0, 1.2, 2.6)):
        tolerances = {"tolerance_px": None, "tolerance_mm": None, f"tolerance_{unit}": tolerance}
        metric = build_surface(**FACTS, spacing=spacing, **tolerances)
        for mask, prediction in cases(shape):
            expected = by_definition(mask, prediction, used, tolerance, used if unit == "mm" else (1.0, 1.0))
            actual = metric(mask, prediction)
            assert list(actual) == list(expected)
            for name, values in expected.items():
                assert actual[name].dtype == np.float64
                np.testing.assert_allclose(actual[name], values, rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (5.0, 0.5)], ids=str)
@pytest.mark.parametrize("block", [1, 5])
def test_surfaces_and_distances_are_itks(spacing, block):
    random = np.random.default_rng(block)
    first, second = (
        np.kron(random.random((9, 11)) < 0.4, np.ones((block, block))).astype(bool) for _ in range(2)
    )
    contours = []
    for member in (first, second):
        image = sitk.GetImageFromArray(
            np.pad(member, 1).astype(np.uint8)
        )  # the padding: outside is no member
        image.SetSpacing(spacing[::-1])  # ITK's axes are x, y
        contours.append(sitk.LabelContour(image, fullyConnected=False))
    itks = [sitk.GetArrayFromImage(contour)[1:-1, 1:-1].astype(bool) for contour in contours]
    everything = np.ones_like(first)
    surfaces = surface(first, everything), surface(second, everything)
    for ours, theirs in zip(surfaces, itks, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    to_second, to_first = surface_distances(*surfaces, spacing)
    for ours, contour, at in ((to_second, contours[1], itks[0]), (to_first, contours[0], itks[1])):
        outside = sitk.SignedMaurerDistanceMap(contour, squaredDistance=False, useImageSpacing=True)
        theirs = np.maximum(sitk.GetArrayFromImage(outside)[1:-1, 1:-1][at], 0)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    hausdorff = sitk.HausdorffDistanceImageFilter()
    hausdorff.Execute(*contours)
    assert max(to_second.max(), to_first.max()) == pytest.approx(hausdorff.GetHausdorffDistance(), rel=1e-5)
    mean = (to_second.mean() + to_first.mean()) / 2
    assert mean == pytest.approx(hausdorff.GetAverageHausdorffDistance(), rel=1e-5)


@pytest.mark.parametrize("offset", [0, 3, 8])
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (2.5, 0.5)], ids=str)
@pytest.mark.parametrize("axis", [0, 1])
def test_two_discs_are_their_offset_apart(offset, spacing, axis):
    rows, columns = np.mgrid[:121, :131]
    moved = np.array([60, 65]) + offset * np.eye(2, dtype=int)[axis]
    mask, prediction = (
        ((rows - r) ** 2 + (columns - c) ** 2 <= 40**2).astype(np.uint8) for r, c in ((60, 65), moved)
    )
    found = build_surface(**FACTS, spacing=spacing)(mask, prediction)
    along = offset * spacing[axis]
    assert found["hd95"][1] <= along + 1e-9  # no pixel is farther than its own image under the shift
    if spacing == (1.0, 1.0):
        assert found["hd95"][1] == pytest.approx(along, abs=1)
        # The gap of two circles at the angle phi from the shift is offset * |cos(phi)|: 2 / pi on average.
        assert found["assd"][1] == pytest.approx(2 / np.pi * along, abs=0.5)
    if offset == 0:
        assert (found["hd95"][1], found["assd"][1], found["surface_dice"][1]) == (0, 0, 1)


def test_spacing_scales_distances_and_a_tolerance_in_pixels_stays():
    mask, prediction = np.zeros((9, 40), np.uint8), np.zeros((9, 40), np.uint8)
    mask[4, 10:20] = prediction[4, 13:23] = 1
    scores = [build_surface(**FACTS, spacing=s, tolerance_px=1.0)(mask, prediction) for s in (None, (7, 0.5))]
    assert scores[0]["assd"][1] == pytest.approx(0.6)  # 6 of 20 pixels, 1 + 2 + 3 px at each end
    assert scores[1]["assd"][1] == pytest.approx(0.3)
    for found in scores:
        assert found["surface_dice"][1] == pytest.approx(16 / 20)


def test_a_tolerance_that_is_reached_is_kept_however_it_rounds():
    mask, prediction = np.zeros((5, 9), np.uint8), np.zeros((5, 9), np.uint8)
    mask[2, 1] = prediction[2, 4] = 1
    assert 3 * 0.1 > 0.3
    metric = build_surface(**FACTS, spacing=(0.1, 0.1), tolerance_px=None, tolerance_mm=0.3)
    assert metric(mask, prediction)["surface_dice"][1] == 1


def test_what_is_not_found_has_the_worst_score_and_what_is_in_neither_none():
    mask, prediction = np.zeros((30, 40), np.uint8), np.zeros((30, 40), np.uint8)
    mask[3:5, 3:5] = 1
    found = build_surface(**FACTS, spacing=(2.0, 2.0))(mask, prediction)
    assert [found[name][1] for name in ("hd95", "assd", "surface_dice")] == [100, 100, 0]
    assert all(np.isnan(values[2]) for values in found.values())
    other = build_surface(**FACTS, spacing=(2.0, 2.0))(prediction, mask)
    assert other["hd95"][1] == 100
    mask[0, 0] = prediction[-1, -1] = 2  # as far from each other as pixels can be
    assert build_surface(**FACTS, spacing=(2.0, 2.0))(mask, prediction)["hd95"][2] < 100


def test_an_ignored_neighbour_makes_no_surface_and_a_hidden_surface_no_score():
    mask = np.zeros((9, 12), np.uint8)
    mask[2:7, 2:10] = 1
    mask[:, 6:] = IGNORED
    whole, prediction = surface(mask == 1, mask != IGNORED), (mask == 1).astype(np.uint8)
    assert not whole[4, 5] and whole[2, 5] and whole[4, 2]
    prediction[:, 6:] = 2  # whatever is predicted there
    found = build_surface(**FACTS, spacing=None)(mask, prediction)
    assert found["hd95"][1] == 0 and found["surface_dice"][1] == 1 and np.isnan(found["hd95"][2])
    island = np.full((5, 5), IGNORED, np.uint8)
    island[1:4, 1:4] = 1
    prediction = np.pad(np.full((2, 2), 1, np.uint8), ((1, 2), (1, 2)))
    found = build_surface(**FACTS, spacing=None)(island, prediction)
    assert np.isnan(found["hd95"][1]) and np.isnan(found["surface_dice"][1])
    assert found["surface_dice"][0] == 0  # predicted where the mask has none


@pytest.mark.parametrize(
    "section, message",
    [
        (
            {"tolerance_mm": 1.0},
            r"metrics\.tolerance_mm: expected one tolerance.*tolerance_px=2 and .*_mm=1\.",
        ),
        ({"tolerance_px": None}, r"expected one tolerance.* got tolerance_px=null and tolerance_mm=null"),
        ({"tolerance_px": -1.0}, r"metrics\.tolerance_px: expected a number of at least 0, got -1\.0"),
        ({"tolerance_px": float("nan")}, r"metrics\.tolerance_px: .* got nan"),
        ({"tolerance_px": None, "tolerance_mm": 1.0}, r"metrics\.tolerance_mm: expected data with a spacing"),
    ],
)
def test_wrong_tolerances_are_refused(section, message):
    with pytest.raises(SegframeError, match=message):
        build_surface(**FACTS, spacing=None, **section)


def test_the_contract_says_units_and_tolerance():
    without = build_surface(**FACTS, spacing=None).contract
    assert (without["units"]["hd95"], without["spacing_mm"], without["tolerance"]) == ("px", None, "2 px")
    metric = build_surface(**FACTS, spacing=(5.0, 0.5), tolerance_px=None, tolerance_mm=1.5)
    assert (metric.contract["units"]["assd"], metric.contract["spacing_mm"]) == ("mm", [5.0, 0.5])
    assert metric.contract["tolerance"] == "1.5 mm"
