"""segframe.loss_maps: what a loss asks for comes with every batch; what cannot be is said before training."""

import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from segframe import SegframeError, hookimpl
from segframe.experiment import run_experiment
from segframe.loss_maps import maps_of, warping
from segframe.record import Record


class NearClass:
    """(height, width, 2) chessboard distance to the nearest pixel of each class; 99 where there is none."""

    channels, dtype, padding, version = 2, "uint16", 99, "chessboard 1"

    def make(self, mask):
        found = [
            ndimage.distance_transform_cdt(mask != c) if (mask == c).any() else np.full(mask.shape, 99)
            for c in range(2)
        ]
        return np.stack(found, axis=-1).astype(np.uint16)


class Offers:
    """A plugin: the maker, a loss that asks for it and notes what it gets, an augmentation that warps."""

    def __init__(self):
        self.seen, self.warped = [], []

    @hookimpl
    def segframe_maps(self):
        return {"near_class": lambda *, num_classes, ignore_index, spacing: NearClass()}

    @hookimpl
    def segframe_losses(self):
        def build(*, num_classes, ignore_index, spacing, map_name: str = "near_class", warped: bool = False):
            self.warped.append(warped)
            return WithMaps((map_name,), self.seen)

        return {"with_maps": build}

    @hookimpl
    def segframe_augmentations(self):
        def squeeze(image, target, seed):
            return image, target

        squeeze.warps = True
        return {"squeeze": lambda: squeeze}


class WithMaps:
    """Cross-entropy, weighted more near an edge."""

    def __init__(self, maps, seen):
        self.maps, self.seen = maps, seen

    def __call__(self, target, logits):
        tf.numpy_function(lambda mask, near: self.seen.append((mask, near)), list(target.values()), [])
        valid = tf.cast(target["mask"] != 255, tf.float32)
        ids = tf.where(target["mask"] == 255, 0, target["mask"])
        pixels = tf.nn.sparse_softmax_cross_entropy_with_logits(ids, logits)
        weight = 1.0 + tf.exp(-tf.cast(tf.reduce_max(target["near_class"], -1), tf.float32))
        return tf.reduce_sum(pixels * valid * weight, (1, 2)) / tf.maximum(tf.reduce_sum(valid, (1, 2)), 1.0)


@pytest.fixture
def offers(plugins, own_cache):
    found = Offers()
    plugins.register(found)
    return found


def with_maps(config, *words, **loss):
    return config("train.xla=false", *words) | {"loss": {"name": "with_maps", **loss}}


def test_a_run_trains_on_the_maps_of_its_augmented_masks(plugins, config, offers, caplog):
    caplog.set_level(logging.INFO, "segframe")
    settings = with_maps(config, "augment=flips", "train.epochs=4", "optimizer.learning_rate=0.01")
    result = run_experiment(plugins, settings)
    record, flipped = Record(Path(result.out_dir)), set()
    for masks, maps in offers.seen:
        assert maps.dtype == np.uint16
        for mask, near in zip(masks, maps, strict=True):
            inside = mask[:17, :23]  # the squares' size, which is padded to a multiple of 2
            np.testing.assert_array_equal(near[:17, :23], NearClass().make(inside.astype(np.uint8)))
            assert (near[17:] == 99).all() and (near[:, 23:] == 99).all()
            flipped.add(inside.tobytes())
    assert len(flipped) > 12  # more than there are samples
    history = record.read("history.json")
    assert history[-1]["train/loss"] < history[0]["train/loss"]
    assert record.read("record.json")["maps"]["near_class"]["version"] == "chessboard 1"
    assert "Maps for the loss: near_class (near_class-" in caplog.text and offers.warped[-1] is False


def test_a_map_that_nobody_makes_is_refused_with_those_that_there_are(plugins, config, offers):
    with pytest.raises(
        SegframeError, match=r"maps of loss 'with_maps': .*near_class.* got 'near_clas'.*\n.*'near_class'\?"
    ):
        run_experiment(plugins, with_maps(config, map_name="near_clas"))


def test_an_augmentation_that_warps_is_refused_by_name_and_the_builder_is_told(plugins, config, offers):
    settings = with_maps(config) | {"augment": {"elastic": {"name": "squeeze"}}}
    with pytest.raises(
        SegframeError, match=r"augment\.elastic: .*loss 'with_maps'.*warps.*\n.*in_graph.*~augment\.elastic"
    ):
        run_experiment(plugins, settings)
    assert offers.warped[-1] is True


def test_a_loss_without_maps_costs_nothing(plugins):
    for loss in (SimpleNamespace(), SimpleNamespace(maps=())):
        assert maps_of(plugins, loss, "plain", None, {"any": object()}, lambda: None) == {}


def test_an_augmentation_that_does_not_say_is_taken_to_warp():
    said = {"a": SimpleNamespace(warps=False), "b": SimpleNamespace(warps=True), "c": object()}
    assert warping(said) == ["b", "c"]
