"""What segframe_losses promises, checked for every loss that is installed."""

import inspect
import json
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from graph_sums import large_sums
from scipy import ndimage

from segframe import IGNORED
from segframe.catalog import build, catalog
from segframe.manager import plugin_manager
from segframe.sum_order import gradients

CLASSES = 3
PLUGINS = plugin_manager()
BUILDERS = catalog(PLUGINS, "loss")
FAR = 65535  # what a uint16 map has where nothing is near


def nearest(there, spacing):
    """Squared distance of each pixel to the nearest one that is there, pair by pair."""
    pixels = np.stack(np.indices(there.shape), -1).reshape(-1, 2) * spacing
    found = np.full(there.size, np.inf)
    if there.any():
        found = np.square(pixels[:, None] - pixels[there.ravel()]).sum(-1).min(-1)
    return found.reshape(there.shape)


def squared_distance(ids, spacing):
    return [nearest(ids == c, spacing) for c in range(CLASSES)]


def squared_distance_to_others(ids, spacing):
    return [nearest((ids != c) & (ids != IGNORED), spacing) for c in range(CLASSES)]


def nearest_instances(ids, spacing):
    found = [np.full(ids.shape, np.inf)] * 2
    for class_id in range(1, CLASSES):
        numbered, count = ndimage.label(ids == class_id, np.ones((3, 3)))
        found += [nearest(numbered == number, spacing) for number in range(1, count + 1)]
    return np.sort(found, axis=0)[:2]


MAPS = {made.__name__: made for made in (squared_distance, squared_distance_to_others, nearest_instances)}


class Case(NamedTuple):
    """An installed loss with its default settings, and the spacing that it was built for."""

    section: dict[str, Any]
    spacing: tuple[float, float]

    def build(self):
        facts = {"num_classes": CLASSES, "ignore_index": IGNORED, "spacing": self.spacing}
        return build(PLUGINS, "loss", self.section, **facts)

    def target(self, mask):
        """The mask with the maps that the loss asks for: uint16 in px², or float32 in mm²."""
        square = self.spacing[0] == self.spacing[1]
        target = {"mask": mask}
        for name in getattr(self.build(), "maps", ()):
            if name not in MAPS:
                pytest.skip(f"needs the map {name}; its plugin's tests have it")
            spacing = (1.0, 1.0) if square else self.spacing
            made = np.stack([np.stack(MAPS[name](ids, spacing), -1) for ids in mask])
            target[name] = np.minimum(made, FAR).astype(np.uint16) if square else made.astype(np.float32)
        return target


def cases():
    for name in sorted(BUILDERS):
        section: dict[str, Any] = {"name": name}
        if "terms" in inspect.signature(BUILDERS[name]).parameters:
            section["terms"] = {
                "first": {"name": "cross_entropy", "weight": 1.0},
                "second": {"name": "dice", "weight": {"start": 0.5, "end": 1.0, "epochs": 3}},
            }
        case = Case(section, (2.0, 0.5))
        yield pytest.param(case, id=name)
        if getattr(case.build(), "maps", ()):
            yield pytest.param(Case(section, (0.5, 0.5)), id=f"{name}-square_pixels")


@pytest.fixture(params=cases())
def case(request):
    return request.param


@pytest.fixture
def loss(case):
    return case.build()


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


@pytest.fixture
def target(case, mask):
    return case.target(mask)


def some(target, chosen):
    """The images chosen, as (batch,) indices or a slice."""
    return {name: values[chosen] for name, values in target.items()}


def value_and_gradient(loss, target, logits):
    target = {name: tf.convert_to_tensor(values) for name, values in target.items()}
    logits = tf.convert_to_tensor(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(target, logits)
    return value, tape.gradient(value, logits)


def test_its_gradient_is_summed_in_one_order(loss, target, logits):
    def graph():
        watched = tf.identity(logits)
        return gradients(tf.reduce_sum(loss(target, watched)), [watched])[0]

    assert large_sums(tf.function(graph, autograph=False).get_concrete_function().graph) == []


def test_it_returns_one_float32_an_image(loss, target, logits):
    value = loss(target, tf.constant(logits))
    assert value.shape == (4,) and value.dtype == tf.float32


def test_right_logits_cost_less_than_wrong_ones(loss, target, mask):
    target, mask = some(target, slice(3)), mask[:3]
    wrong = np.where(mask == IGNORED, IGNORED, (mask + 1) % CLASSES)
    assert (loss(target, confident(mask, 5.0)) < loss(target, confident(wrong, 5.0))).numpy().all()


def test_an_image_of_one_pixel_has_a_loss(case, loss):
    mask = np.int32([[[0]], [[1]], [[2]], [[IGNORED]]])
    target = case.target(mask)
    right, right_gradient = value_and_gradient(loss, target, confident(mask, 5.0))
    wrong, wrong_gradient = value_and_gradient(loss, target, confident((mask + 1) % CLASSES, 5.0))
    assert (right[:3] < wrong[:3]).numpy().all()
    assert right[3] == wrong[3] == 0
    assert np.isfinite(right_gradient).all() and np.isfinite(wrong_gradient).all()


def test_permuting_images_permutes_losses(loss, target, logits):
    order = [2, 0, 3, 1]
    expected = loss(target, logits).numpy()[order]
    np.testing.assert_allclose(loss(some(target, order), logits[order]), expected, rtol=1e-5)


def test_a_batch_is_its_images_one_by_one(loss, target, logits):
    alone = [loss(some(target, slice(i, i + 1)), logits[i : i + 1])[0] for i in range(4)]
    np.testing.assert_allclose(loss(target, logits), alone, rtol=1e-5)


def test_an_image_without_valid_pixels_gives_zero_without_gradient(loss, target, logits):
    value, gradient = value_and_gradient(loss, target, logits)
    assert value[3] == 0
    assert not gradient[3].numpy().any()


def test_ignored_pixels_count_nowhere(loss, target, mask, logits):
    ignored = mask == IGNORED
    value, gradient = value_and_gradient(loss, target, logits)
    assert not gradient.numpy()[ignored].any()
    for filling in (1e4, np.nan):
        other = np.where(ignored[..., None], np.float32(filling), logits)
        again, gradient_again = value_and_gradient(loss, target, other)
        np.testing.assert_array_equal(again, value)
        np.testing.assert_array_equal(gradient_again, gradient)


def test_maps_count_nowhere_where_the_mask_is_ignored(loss, target, mask, logits):
    ignored = (mask == IGNORED)[..., None]
    value, gradient = value_and_gradient(loss, target, logits)
    for far in (False, True):
        other = {"mask": mask}
        for name in target.keys() - {"mask"}:
            worst = (FAR if target[name].dtype == np.uint16 else np.inf) if far else 0
            other[name] = np.where(ignored, np.asarray(worst, target[name].dtype), target[name])
        again, gradient_again = value_and_gradient(loss, other, logits)
        np.testing.assert_array_equal(again, value)
        np.testing.assert_array_equal(gradient_again, gradient)


def test_padding_with_ignored_pixels_changes_nothing(case, loss, target, mask, logits):
    padded = np.pad(mask, ((0, 0), (0, 3), (0, 11)), constant_values=IGNORED)
    padded_logits = np.pad(logits, ((0, 0), (0, 3), (0, 11), (0, 0)), mode="edge")
    expected = loss(target, logits)
    np.testing.assert_allclose(loss(case.target(padded), padded_logits), expected, rtol=1e-5)


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "xla"])
def test_value_and_gradient_are_finite_at_large_logits(loss, target, mask, right, compiled):
    ids = mask if right else (mask + 1) % CLASSES
    function = tf.function(value_and_gradient, jit_compile=True) if compiled else value_and_gradient
    target = {name: tf.constant(values) for name, values in target.items()}
    value, gradient = function(loss, target, tf.constant(confident(ids, 1e4)))
    assert np.isfinite(value).all() and np.isfinite(gradient).all()


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
def test_a_compiled_step_gives_the_eager_numbers(loss, target, logits, jit_compile):
    step = tf.function(
        lambda target, logits: value_and_gradient(loss, target, logits), jit_compile=jit_compile
    )
    tensors = {name: tf.constant(values) for name, values in target.items()}
    for actual, expected in zip(
        step(tensors, tf.constant(logits)), value_and_gradient(loss, target, logits), strict=True
    ):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("known_rank", [True, False], ids=["any_size", "any_rank"])
def test_unknown_shapes_are_taken(loss, target, logits, known_rank):
    def spec(values):
        shape = (None, None, None, *values.shape[3:]) if known_rank else None
        return tf.TensorSpec(shape, values.dtype)

    @tf.function(input_signature=[{name: spec(values) for name, values in target.items()}, spec(logits)])
    def value(target, logits):
        return loss(target, logits)

    tensors = {name: tf.constant(values) for name, values in target.items()}
    np.testing.assert_allclose(value(tensors, tf.constant(logits)), loss(target, logits), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_logits_of_half_precision_are_computed_in_float32(loss, target, logits, dtype):
    half = tf.cast(logits, dtype)
    value = loss(target, half)
    assert value.dtype == tf.float32
    np.testing.assert_allclose(value, loss(target, tf.cast(half, tf.float32)), rtol=1e-6)


def test_the_section_as_it_is_recorded_gives_an_equal_loss(case, loss, target, logits):
    again = Case(json.loads(json.dumps(case.section)), case.spacing).build()
    np.testing.assert_array_equal(again(target, logits), loss(target, logits))
