"""segframe_uresnet.encoders: the published sizes, and the ResNet against its definition in PyTorch."""

from typing import get_args

import keras
import numpy as np
import pytest

from segframe_uresnet.encoders import APPLICATIONS, RESNETS, Name, build_encoder, resnet

NORM = {"momentum": 0.9, "epsilon": 1e-5}
PUBLISHED = {
    "resnet18": 11_689_512 - 513_000,
    "resnet34": 21_797_672 - 513_000,
    "resnet50": 25_557_032 - 2_049_000,
}
"""Trainable weights of the ImageNet networks, as their libraries list them, without the classifier's."""

WIDTHS = {
    "resnet18": (64, 64, 128, 256, 512),
    "resnet34": (64, 64, 128, 256, 512),
    "resnet50": (64, 256, 512, 1024, 2048),
    "ResNet50V2": (64, 256, 512, 1024, 2048),
    "MobileNetV2": (96, 144, 192, 576, 1280),
    "EfficientNetV2B0": (16, 32, 192, 672, 1280),
    "EfficientNetV2S": (24, 48, 256, 960, 1280),
    "DenseNet121": (64, 256, 512, 1024, 1024),
}
SLOW = ("EfficientNetV2S", "DenseNet121")


def trained_statistics(model, seed=0):
    """Batch normalisations as if after training."""
    generator = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.gamma.shape[0]
            values = [generator.uniform(0.5, 1, size), *generator.normal(0, 0.3, (2, size))]
            layer.set_weights([*values, generator.uniform(0.5, 2, size)])


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in get_args(Name)]
)
def test_five_maps_halve_the_size_each(name):
    encoder = build_encoder(name, 2, NORM)
    for height, width in [(32, 64), (96, 160)]:
        found = encoder.compute_output_spec(keras.KerasTensor((1, height, width, 2)))
        wanted = [(1, height >> n, width >> n, WIDTHS[name][n - 1]) for n in range(1, 6)]
        assert [each.shape for each in found] == wanted
    for layer in encoder.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            assert layer.momentum == 0.9
        assert type(layer) not in (keras.layers.BatchNormalization, keras.layers.Conv2D)  # slower
        assert not isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization)


def test_every_encoder_is_one_or_the_other():
    assert [*RESNETS, *APPLICATIONS] == list(get_args(Name)) == list(WIDTHS)


@pytest.mark.parametrize("name", RESNETS)
def test_resnets_have_the_published_number_of_weights(name):
    encoder = build_encoder(name, 3, NORM)
    assert sum(np.prod(weight.shape) for weight in encoder.trainable_weights) == PUBLISHED[name]


@pytest.mark.parametrize(
    "kind, filters", [("basic", 64), ("bottleneck", 64), ("basic", 4), ("bottleneck", 8)]
)
def test_parameters_follow_from_the_shapes(kind, filters):
    counts, expansion = (1, 2, 1, 2), 1 if kind == "basic" else 4
    image = keras.Input((None, None, 3))
    model = keras.Model(image, resnet(image, kind, counts, norm=NORM, filters=filters))
    wanted, before = 49 * 3 * filters + 4 * filters, filters
    for stage, blocks in enumerate(counts):
        inner, width = filters * 2**stage, filters * 2**stage * expansion
        for number in range(blocks):
            if kind == "basic":
                wanted += 9 * before * width + 9 * width * width + 4 * 2 * width
            else:
                wanted += before * inner + 9 * inner * inner + inner * width + 4 * (2 * inner + width)
            if before != width or (stage and not number):
                wanted += before * width + 4 * width
            before = width
    assert model.count_params() == wanted


@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
def test_resnet_is_pytorchs(torch, kind):
    counts = (1, 2, 1, 1)
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3))
    model = keras.Model(image, resnet(image, kind, counts, norm=NORM, filters=8))
    trained_statistics(model)

    def value(array):
        return torch.tensor(np.asarray(array, np.float64))

    def normalised_conv(x, name, stride):
        kernel = value(model.get_layer(name).kernel).permute(3, 2, 0, 1)
        x = torch.nn.functional.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        layer = model.get_layer(f"{name}_norm")
        mean, variance = value(layer.moving_mean), value(layer.moving_variance)
        return torch.nn.functional.batch_norm(
            x, mean, variance, value(layer.gamma), value(layer.beta), eps=1e-5
        )

    images = np.random.default_rng(1).normal(size=(2, 64, 96, 3)).astype(np.float32)
    x = torch.relu(normalised_conv(value(images).permute(0, 3, 1, 2), "encoder_stem", 2))
    wanted = [x]
    x = torch.nn.functional.max_pool2d(x, 3, stride=2, padding=1)
    for stage, blocks in enumerate(counts):
        for number in range(blocks):
            name, stride = f"encoder{stage + 1}_block{number}", 2 if stage and not number else 1
            projects = stride == 2 or (kind == "bottleneck" and not number)
            shortcut = normalised_conv(x, f"{name}_shortcut", stride) if projects else x
            steps = [stride, 1] if kind == "basic" else [1, stride, 1]
            for index, step in enumerate(steps, 1):
                x = normalised_conv(x, f"{name}_conv{index}", step)
                x = torch.relu(x) if index < len(steps) else torch.relu(x + shortcut)
        wanted.append(x)
    for found, each in zip(model(images), wanted, strict=True):
        each = each.permute(0, 2, 3, 1).numpy()
        np.testing.assert_allclose(found, each, rtol=1e-3, atol=1e-4 * np.abs(each).max())  # float32
