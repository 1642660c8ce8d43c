"""The slides' example: its weights counted from its shapes, and that it learns its mask."""

import keras
import numpy as np
import pytest
from hydra import compose, initialize_config_module

from segframe import SegframeError
from segframe.compose import register
from segframe.experiment import run_experiment
from segframe.manager import plugin_manager
from segframe.train_command import plain
from segframe_unet.small import build_small

SHAPE = (4, 4, 1)
SLIDES = [9, 9, 18, 36, 18, 18, 9]
"""Weights of the convolutions but the last: 3 x 3 x channels in x channels out."""


@pytest.mark.parametrize("head, last", [("sigmoid", 9), ("softmax", 18)])
def test_the_weights_are_those_of_the_slides_layer_by_layer(head, last):
    model = build_small(image_shape=SHAPE, num_classes=2, head=head)
    kernels = [weight.shape for weight in model.trainable_weights]
    channels = [(1, 1), (1, 1), (1, 2), (2, 2), (2, 1), (2, 1), (1, 1), (1, last // 9)]
    assert [tuple(kernel) for kernel in kernels] == [(3, 3, *pair) for pair in channels]
    assert [9 * before * after for before, after in channels] == [*SLIDES, last]
    assert model.count_params() == sum(SLIDES) + last == {"sigmoid": 126, "softmax": 135}[head]


def test_the_relu_before_the_sigmoid_is_an_option_that_keeps_logits_from_going_below_0():
    images = np.random.default_rng(0).normal(size=(64, *SHAPE)).astype(np.float32)
    for wanted in (False, True):
        keras.utils.set_random_seed(1)
        model = build_small(image_shape=SHAPE, num_classes=2, relu_before_sigmoid=wanted)
        logits = model(images).numpy()
        assert logits.max() > 0 and (logits.min() >= 0) == wanted


def test_one_logit_for_three_classes_is_refused():
    with pytest.raises(SegframeError, match=r"model\.head: expected softmax for 3 classes, got 'sigmoid'"):
        build_small(image_shape=SHAPE, num_classes=3, head="sigmoid")


def exact(tmp_path, seed, *words):
    """Whether experiment=toy ends on the exact mask for each test image."""
    register()
    with initialize_config_module("segframe.conf", version_base="1.3"):
        overrides = ["experiment=toy", "tracker=none", f"runs_dir='{tmp_path}'", f"seed={seed}", *words]
        config = plain(compose("config", overrides))
    return run_experiment(plugin_manager(), config).scores["test/pixel_accuracy"] == 1


@pytest.mark.slow
def test_a_short_run_learns_the_mask(tmp_path):
    assert exact(tmp_path, 0, "train.epochs=1", "dataset.samples_train=512")


@pytest.mark.slow
def test_nine_of_ten_seeds_at_least_end_on_the_exact_mask(tmp_path):
    assert sum(exact(tmp_path, seed) for seed in range(10)) >= 9
