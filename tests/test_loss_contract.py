"""What segframe_losses promises, checked for every loss that is installed."""

import inspect

import numpy as np
import pytest
import tensorflow as tf

from segframe import IGNORED
from segframe.catalog import build, catalog
from segframe.manager import plugin_manager

CLASSES = 3
PLUGINS = plugin_manager()
BUILDERS = catalog(PLUGINS, "loss")


@pytest.fixture(params=sorted(BUILDERS))
def loss(request):
    section = {"name": request.param}
    if "terms" in inspect.signature(BUILDERS[request.param]).parameters:
        section["terms"] = {
            "first": {"name": "cross_entropy", "weight": 1.0},
            "second": {"name": "dice", "weight": 0.5},
        }
    loss = build(PLUGINS, "loss", section, num_classes=CLASSES, ignore_index=IGNORED, spacing=(2.0, 0.5))
    if loss.maps:
        pytest.skip(f"needs the maps {loss.maps}, which the pipeline makes; its plugin's tests have it")
    return loss


@pytest.fixture
def mask():
    """(4, 13, 21): a mixed image, one of one class, one with ignored pixels, one with nothing else."""
    ids = np.random.default_rng(0).integers(CLASSES, size=(4, 13, 21)).astype(np.int32)
    ids[1] = 1
    ids[2, 3:9, :11] = IGNORED
    ids[3] = IGNORED
    return ids


@pytest.fixture
def logits(mask):
    return np.random.default_rng(1).normal(scale=3.0, size=(*mask.shape, CLASSES)).astype(np.float32)


def confident(mask, size):
    """Logits that are +size for the class given and -size for the others."""
    return size * (2 * np.eye(CLASSES, dtype=np.float32)[np.where(mask == IGNORED, 0, mask)] - 1)


def value_and_gradient(loss, mask, logits):
    logits = tf.convert_to_tensor(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss({"mask": tf.convert_to_tensor(mask)}, logits)
    return value, tape.gradient(value, logits)


def test_it_returns_one_float32_an_image(loss, mask, logits):
    value = loss({"mask": tf.constant(mask)}, tf.constant(logits))
    assert value.shape == (4,) and value.dtype == tf.float32


def test_right_logits_cost_less_than_wrong_ones(loss, mask):
    mask = mask[:3]
    wrong = np.where(mask == IGNORED, IGNORED, (mask + 1) % CLASSES)
    assert (
        (loss({"mask": mask}, confident(mask, 5.0)) < loss({"mask": mask}, confident(wrong, 5.0)))
        .numpy()
        .all()
    )


def test_permuting_images_permutes_losses(loss, mask, logits):
    order = [2, 0, 3, 1]
    expected = loss({"mask": mask}, logits).numpy()[order]
    np.testing.assert_allclose(loss({"mask": mask[order]}, logits[order]), expected, rtol=1e-5)


def test_a_batch_is_its_images_one_by_one(loss, mask, logits):
    alone = [loss({"mask": mask[i : i + 1]}, logits[i : i + 1])[0] for i in range(4)]
    np.testing.assert_allclose(loss({"mask": mask}, logits), alone, rtol=1e-5)


def test_an_image_without_valid_pixels_gives_zero_without_gradient(loss, mask, logits):
    value, gradient = value_and_gradient(loss, mask, logits)
    assert value[3] == 0
    assert not gradient[3].numpy().any()


def test_ignored_pixels_count_nowhere(loss, mask, logits):
    ignored = mask == IGNORED
    value, gradient = value_and_gradient(loss, mask, logits)
    assert not gradient.numpy()[ignored].any()
    for filling in (1e4, np.nan):
        other = np.where(ignored[..., None], np.float32(filling), logits)
        again, gradient_again = value_and_gradient(loss, mask, other)
        np.testing.assert_array_equal(again, value)
        np.testing.assert_array_equal(gradient_again, gradient)


def test_padding_with_ignored_pixels_changes_nothing(loss, mask, logits):
    padded = np.pad(mask, ((0, 0), (0, 3), (0, 11)), constant_values=IGNORED)
    padded_logits = np.pad(logits, ((0, 0), (0, 3), (0, 11), (0, 0)), mode="edge")
    np.testing.assert_allclose(loss({"mask": padded}, padded_logits), loss({"mask": mask}, logits), rtol=1e-5)


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "xla"])
def test_value_and_gradient_are_finite_at_large_logits(loss, mask, right, compiled):
    ids = mask if right else (mask + 1) % CLASSES
    function = tf.function(value_and_gradient, jit_compile=True) if compiled else value_and_gradient
    value, gradient = function(loss, tf.constant(mask), tf.constant(confident(ids, 1e4)))
    assert np.isfinite(value).all() and np.isfinite(gradient).all()


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
def test_a_compiled_step_gives_the_eager_numbers(loss, mask, logits, jit_compile):
    step = tf.function(lambda mask, logits: value_and_gradient(loss, mask, logits), jit_compile=jit_compile)
    for actual, expected in zip(
        step(tf.constant(mask), tf.constant(logits)), value_and_gradient(loss, mask, logits), strict=True
    ):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("shape", [(None, None, None), None], ids=["any_size", "any_rank"])
def test_unknown_shapes_are_taken(loss, mask, logits, shape):
    logits_shape = None if shape is None else (*shape, CLASSES)

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.int32), tf.TensorSpec(logits_shape, tf.float32)])
    def value(mask, logits):
        return loss({"mask": mask}, logits)

    np.testing.assert_allclose(value(mask, logits), loss({"mask": mask}, logits), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_logits_of_half_precision_are_computed_in_float32(loss, mask, logits, dtype):
    half = tf.cast(logits, dtype)
    value = loss({"mask": mask}, half)
    assert value.dtype == tf.float32
    np.testing.assert_allclose(value, loss({"mask": mask}, tf.cast(half, tf.float32)), rtol=1e-6)
