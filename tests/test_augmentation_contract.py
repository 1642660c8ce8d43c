"""What segframe_augmentations promises, checked for every augmentation that is installed."""

import numpy as np
import pytest
import tensorflow as tf

from segframe.catalog import build, catalog
from segframe.dataset import IGNORED
from segframe.manager import plugin_manager

PLUGINS = plugin_manager()
CLASSES = 3
SIZES = [(13, 21), (16, 16)]


def test_one_pixel_stays_one(augment):
    image, target = augment(tf.fill((1, 1, 2), 0.5), {"mask": tf.ones((1, 1), tf.int32)}, tf.constant([1, 2]))
    assert image.shape == (1, 1, 2) and 0 <= image.numpy().min() <= image.numpy().max() <= 1
    assert target["mask"].numpy().item() in (1, IGNORED)


@pytest.fixture(params=sorted(catalog(PLUGINS, "augment")))
def augment(request):
    return build(PLUGINS, "augment", {"name": request.param})


@pytest.fixture(params=SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def sample(request):
    """An image whose first channel is its mask, scaled to 0.3..0.7; the others are noise."""
    random, (height, width) = np.random.default_rng(0), request.param
    # Regions, as masks have them: what warps reads between pixels, where noise would keep nothing.
    regions = random.integers(CLASSES, size=(-(-height // 6), -(-width // 6)))
    mask = np.kron(regions, np.ones((6, 6), int))[:height, :width].astype(np.int32)
    image = random.random((height, width, 3)).astype(np.float32)
    image[..., 0] = 0.3 + 0.4 * mask / (CLASSES - 1)
    return image, mask


def applied(augment, sample, seed):
    image, target = augment(
        tf.constant(sample[0]), {"mask": tf.constant(sample[1])}, tf.constant([seed, 7], tf.int32)
    )
    return image.numpy(), target["mask"].numpy()


def test_shapes_dtypes_and_ranges_stay(augment, sample):
    for seed in range(8):
        image, mask = applied(augment, sample, seed)
        assert (image.shape, image.dtype) == (sample[0].shape, np.float32)
        assert (mask.shape, mask.dtype) == (sample[1].shape, np.int32)
        assert 0 <= image.min() and image.max() <= 1


def test_a_seed_decides_everything(augment, sample):
    for one, again in zip(applied(augment, sample, 3), applied(augment, sample, 3), strict=True):
        np.testing.assert_array_equal(one, again)


def test_seeds_differ(augment, sample):
    assert len({applied(augment, sample, seed)[0].tobytes() for seed in range(16)}) > 1


def test_image_and_mask_stay_aligned(augment, sample):
    for seed in range(8):
        image, mask = applied(augment, sample, seed)
        known = mask != IGNORED
        assert known.sum() > known.size / 2
        assert np.corrcoef(image[..., 0][known], mask[known])[0, 1] > 0.9


def test_class_ids_stay(augment, sample):
    for seed in range(8):
        _, mask = applied(augment, sample, seed)
        assert set(np.unique(mask)) <= set(np.unique(sample[1])) | {IGNORED}
        if not augment.warps and IGNORED not in mask:
            np.testing.assert_array_equal(np.bincount(mask.ravel()), np.bincount(sample[1].ravel()))


def test_one_that_only_moves_pixels_does_so_in_the_dtypes_of_the_file(augment, sample):
    if not getattr(augment, "moves_only", False):
        pytest.skip("makes new values: it is given scaled floats")
    raw, mask = (sample[0] * 255).astype(np.uint8), sample[1].astype(np.uint8)
    for seed in range(8):
        image, target = augment(tf.constant(raw), {"mask": tf.constant(mask)}, tf.constant([seed, 7]))
        assert (image.dtype, target["mask"].dtype) == (tf.uint8, tf.uint8)
        scaled, _ = applied(augment, (raw.astype(np.float32), sample[1]), seed)
        np.testing.assert_array_equal(image.numpy(), scaled)


def test_maps_of_the_target_follow_the_mask(augment, sample):
    if augment.warps:
        pytest.skip("warps: stored maps are not given to it")
    maps = np.stack([sample[1], sample[1] + 10], axis=-1)
    target = {"mask": tf.constant(sample[1])}
    target |= {dtype: tf.constant(maps.astype(dtype)) for dtype in ("uint16", "float32")}
    for seed in range(8):
        _, moved = augment(tf.constant(sample[0]), target, tf.constant([seed, 7]))
        for dtype in ("uint16", "float32"):
            assert moved[dtype].dtype == dtype
            known = moved["mask"].numpy() != IGNORED  # where it is hidden now, the map is as it was
            for channel, more in enumerate((0, 10)):
                found = moved[dtype].numpy()[..., channel]
                np.testing.assert_array_equal(found[known], moved["mask"].numpy()[known] + more)
                assert set(np.unique(found)) <= {more, more + 1, more + 2}
    assert target.keys() == moved.keys()


@pytest.mark.parametrize("static", [True, False], ids=["known_size", "unknown_size"])
def test_the_input_graph_gives_what_eager_gives(augment, sample, static):
    def generate():
        for seed in range(8):
            yield sample[0], sample[1], np.int32([seed, 7])

    height, width = sample[1].shape if static else (None, None)
    data = tf.data.Dataset.from_generator(
        generate,
        output_signature=(
            tf.TensorSpec((height, width, 3), tf.float32),
            tf.TensorSpec((height, width), tf.int32),
            tf.TensorSpec((2,), tf.int32),
        ),
    )
    data = data.map(lambda image, mask, seed: augment(image, {"mask": mask}, seed))
    if static:
        assert data.element_spec[0].shape == sample[0].shape
        assert data.element_spec[1]["mask"].shape == sample[1].shape
    for seed, (image, target) in enumerate(data):
        expected_image, expected_mask = applied(augment, sample, seed)
        np.testing.assert_allclose(image, expected_image, atol=1e-6)
        np.testing.assert_array_equal(target["mask"], expected_mask)
