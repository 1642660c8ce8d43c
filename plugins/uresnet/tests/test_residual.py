"""segframe_uresnet.residual: the blocks against their definition in PyTorch, float64."""

import keras
import numpy as np
import pytest

from segframe_uresnet.residual import preactivation_block, residual_block

NORM = {"momentum": 0.9, "epsilon": 1e-3}
BLOCKS = {"post": residual_block, "pre": preactivation_block}


def random_values(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def block_model(order, channels, filters, **settings):
    """A block on as many parts as there are numbers of channels, its normalisations as if after training."""
    keras.utils.set_random_seed(0)
    parts = [keras.Input((None, None, number)) for number in channels]
    model = keras.Model(parts, BLOCKS[order](parts, filters, norm=NORM, name="block", **settings))
    generator = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            scale, shift, mean = generator.normal(size=(3, layer.gamma.shape[0]))
            layer.set_weights([scale, shift, mean, generator.uniform(0.5, 2, scale.shape)])
    return model


def in_pytorch(torch, model, images, order, kind, stride):
    def value(array):
        return torch.tensor(np.asarray(array, np.float64))

    def conv(x, name, step):
        kernel = value(model.get_layer(f"block_{name}").kernel).permute(3, 2, 0, 1)
        return torch.nn.functional.conv2d(x, kernel, stride=step, padding=kernel.shape[-1] // 2)

    def norm(x, name):
        layer = model.get_layer(f"block_{name}_norm")
        mean, variance = value(layer.moving_mean), value(layer.moving_variance)
        scale, shift = value(layer.gamma), value(layer.beta)
        return torch.nn.functional.batch_norm(x, mean, variance, scale, shift, eps=1e-3)

    x = value(images).permute(0, 3, 1, 2)
    steps = [stride, 1] if kind == "basic" else [1, stride, 1]
    projects = any(layer.name == "block_shortcut" for layer in model.layers)
    if order == "post":
        shortcut = norm(conv(x, "shortcut", stride), "shortcut") if projects else x
        for number, step in enumerate(steps, 1):
            x = norm(conv(x, f"conv{number}", step), f"conv{number}")
            x = torch.relu(x) if number < len(steps) else x
        x = torch.relu(x + shortcut)
    else:
        shortcut, x = x, torch.relu(norm(x, "pre"))
        shortcut = conv(x, "shortcut", stride) if projects else shortcut
        for number, step in enumerate(steps, 1):
            x = conv(x, f"conv{number}", step)
            x = torch.relu(norm(x, f"conv{number}")) if number < len(steps) else x
        x = x + shortcut
    return x.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [8, 3], ids=["same channels", "more channels"])
@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
@pytest.mark.parametrize("order", ["post", "pre"])
def test_block_is_pytorchs(torch, order, kind, channels, stride):
    model = block_model(order, [channels], 8, kind=kind, stride=stride)
    images = random_values(2, 6, 10, channels)
    wanted = in_pytorch(torch, model, images, order, kind, stride)
    assert wanted.shape == (2, 6 // stride, 10 // stride, 8)
    np.testing.assert_allclose(model([images]), wanted, rtol=1e-4, atol=1e-4)  # float32
    projects = any(layer.name == "block_shortcut" for layer in model.layers)
    assert projects == (channels != 8 or stride == 2)


@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
@pytest.mark.parametrize("order", ["post", "pre"])
def test_split_has_the_weights_and_the_result_of_concat(order, kind):
    joined = block_model(order, [3, 5], 8, kind=kind)
    split = block_model(order, [3, 5], 8, kind=kind, skip="split")
    shapes = [[(weight.path, weight.shape) for weight in each.weights] for each in (joined, split)]
    assert shapes[0] == shapes[1]
    split.set_weights(joined.get_weights())
    parts = [random_values(2, 6, 10, 3), random_values(2, 6, 10, 5, seed=1)]
    np.testing.assert_allclose(split(parts), joined(parts), rtol=1e-4, atol=1e-5)  # float32, other order


@pytest.mark.parametrize("order", ["post", "pre"])
def test_two_parts_are_taken_for_their_concatenation(order):
    two, one = block_model(order, [3, 5], 8), block_model(order, [8], 8)
    parts = [random_values(2, 6, 10, 3), random_values(2, 6, 10, 5, seed=1)]
    assert any(layer.name == "block_shortcut" for layer in two.layers)  # whatever their channels add up to
    if order == "pre":
        whole = np.concatenate(
            [two.get_layer(f"block_pre{mark}_norm").get_weights() for mark in "ab"], axis=1
        )
        one.get_layer("block_pre_norm").set_weights(list(whole))
    for layer in one.layers:
        if layer.weights and layer.name != "block_pre_norm":
            layer.set_weights(two.get_layer(layer.name).get_weights())
    images = np.concatenate(parts, axis=-1)
    # Without the two shortcuts, which differ: a projection and the identity.
    branches = [keras.Model(each.input, each.get_layer("block_add").input[0]) for each in (two, one)]
    np.testing.assert_allclose(branches[0](parts), branches[1]([images]), rtol=1e-4, atol=1e-5)


def test_activated_input_is_taken_by_both_paths_as_it_is():
    model = block_model("pre", [8], 8, activated=True)
    for number in (1, 2):
        kernel = model.get_layer(f"block_conv{number}").kernel
        kernel.assign(np.zeros(kernel.shape))
    images = random_values(2, 6, 10, 8)
    np.testing.assert_array_equal(model([images]), images)
    assert not any(layer.name.startswith("block_pre") for layer in model.layers)
