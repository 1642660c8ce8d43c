"""segframe.only_valid."""

import numpy as np
import pytest
import tensorflow as tf

from segframe import IGNORED, SegframeError, only_valid


def test_ignored_pixels_lose_their_class_and_their_logits_with_their_gradient():
    mask = tf.constant([[[0, IGNORED, 2]]], tf.uint8)
    logits = tf.Variable([[[[1.0, 2, 3], [np.nan, np.inf, 6], [7, 8, 9]]]])
    with tf.GradientTape() as tape:
        found, valid, kept = only_valid(mask, logits, 3, IGNORED)
        total = tf.reduce_sum(kept)
    assert found.dtype == tf.int32 and found.numpy().tolist() == [[[0, -1, 2]]]
    assert valid.numpy().tolist() == [[[1.0, 0.0, 1.0]]]
    assert kept.numpy()[0, 0].tolist() == [[1, 2, 3], [0, 0, 0], [7, 8, 9]]
    assert tape.gradient(total, logits).numpy()[0, 0].tolist() == [[1, 1, 1], [0, 0, 0], [1, 1, 1]]


def test_classes_first_are_the_same_logits_and_gradients():
    mask = tf.constant([[[0, IGNORED, 2], [1, 1, IGNORED]]], tf.uint8)
    logits = tf.random.stateless_normal((1, 2, 3, 3), (0, 1))
    weights = tf.random.stateless_normal((1, 2, 3, 3), (2, 3))
    found = []
    for classes_first in (False, True):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            *others, kept = only_valid(mask, logits, 3, IGNORED, classes_first=classes_first)
            if classes_first:
                assert kept.shape == (3, 1, 2, 3)
                kept = tf.transpose(kept, (1, 2, 3, 0))
            total = tf.reduce_sum(kept * weights)
        found.append([*others, kept, tape.gradient(total, logits)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_number_of_classes_is_refused():
    with pytest.raises(SegframeError, match=r"expected \(batch, height, width, 3\), got \(1, 4, 5, 2\)"):
        only_valid(tf.zeros((1, 4, 5), tf.int32), tf.zeros((1, 4, 5, 2)), 3, IGNORED)
