"""segframe.metrics against a reading of its definition pixel by pixel, and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from segframe.dataset import IGNORED
from segframe.metrics import class_scores, confusion, image_scores, pixel_accuracy, split_scores

NAMES = ("background", "cell", "nucleus")


@pytest.fixture
def masks():
    random = np.random.default_rng(3)
    mask = random.integers(3, size=(5, 13, 21)).astype(np.uint8)
    mask[random.random(mask.shape) < 0.1] = IGNORED
    prediction = random.integers(3, size=mask.shape).astype(np.uint8)
    mask[0], prediction[0] = 0, 0  # background only: no foreground class is defined
    mask[1][mask[1] == 2], prediction[1][prediction[1] == 2] = 1, 1  # no nucleus in either
    mask[2][mask[2] == 1] = 0  # cells only predicted
    return mask, prediction


def by_hand(mask, prediction, c):
    """IoU and Dice of class c, from sets of pixels."""
    true = {p for p in np.ndindex(mask.shape) if mask[p] == c}
    found = {p for p in np.ndindex(mask.shape) if mask[p] != IGNORED and prediction[p] == c}
    if not true | found:
        return None, None
    return len(true & found) / len(true | found), 2 * len(true & found) / (len(true) + len(found))


def test_confusion_is_scikit_learns_over_valid_pixels(masks):
    for mask, prediction in zip(*masks, strict=True):
        valid = mask != IGNORED
        expected = confusion_matrix(mask[valid], prediction[valid], labels=range(3))
        np.testing.assert_array_equal(confusion(mask, prediction, 3), expected)


def test_class_scores_are_those_of_pixel_sets(masks):
    for mask, prediction in zip(*masks, strict=True):
        scores = class_scores(confusion(mask, prediction, 3))
        for c in range(3):
            iou, dice = by_hand(mask, prediction, c)
            if iou is None:
                assert np.isnan(scores["iou"][c]) and np.isnan(scores["dice"][c])
            else:
                assert scores["iou"][c] == pytest.approx(iou, abs=1e-15)
                assert scores["dice"][c] == pytest.approx(dice, abs=1e-15)


def test_image_scores_average_the_defined_foreground_classes(masks):
    counts = np.stack([confusion(m, p, 3) for m, p in zip(*masks, strict=True)])
    scores = image_scores(counts, NAMES)
    assert np.isnan(scores["dice"][0])
    for image in range(1, 5):
        defined = [d for c in (1, 2) if (d := by_hand(masks[0][image], masks[1][image], c)[1]) is not None]
        assert scores["dice"][image] == pytest.approx(np.mean(defined), abs=1e-15)
    assert scores["dice/cell"][2] == 0  # absent from the mask, predicted


def test_without_a_class_named_background_every_class_counts():
    counts = np.array([[[3, 1], [0, 4]]])
    scores = image_scores(counts, ("membrane", "cell"))
    assert scores["iou"][0] == pytest.approx((3 / 4 + 4 / 5) / 2)


def test_split_scores_average_images_and_pool_counts(masks):
    counts = np.stack([confusion(m, p, 3) for m, p in zip(*masks, strict=True)])
    scores = split_scores(counts, NAMES)
    per_image = image_scores(counts, NAMES)
    assert scores["dice"] == pytest.approx(np.mean(per_image["dice"][1:]))
    mask, prediction = masks
    pooled = by_hand(mask.reshape(1, -1), prediction.reshape(1, -1), 2)
    assert scores["iou_pooled/nucleus"] == pytest.approx(pooled[0])
    valid = mask != IGNORED
    assert scores["pixel_accuracy_pooled"] == pytest.approx(np.mean(mask[valid] == prediction[valid]))


def test_an_image_that_is_ignored_throughout_is_undefined():
    counts = confusion(np.full((4, 5), IGNORED, np.uint8), np.zeros((4, 5), np.uint8), 2)
    assert np.isnan(pixel_accuracy(counts)) and np.isnan(class_scores(counts)["iou"]).all()


def test_an_image_of_more_than_a_megapixel_is_counted_whole():
    random = np.random.default_rng(0)
    mask = random.integers(3, size=(1203, 1801), dtype=np.uint8)
    mask[5:9] = IGNORED
    prediction = random.integers(3, size=mask.shape, dtype=np.uint8)
    expected = [[np.sum((mask == t) & (prediction == p)) for p in range(3)] for t in range(3)]
    np.testing.assert_array_equal(confusion(mask, prediction, 3), expected)
