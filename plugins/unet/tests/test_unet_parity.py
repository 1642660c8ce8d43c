"""The U-Net beside the one in PyTorch of benchmarks/cars_pytorch.py: same weights, same logits."""

import numpy as np
import pytest

from segframe_unet.unet import build_unet


@pytest.fixture(scope="module")
def cars_pytorch(torch):
    import cars_pytorch

    return cars_pytorch


def give_conv(torch, theirs, ours):
    theirs.weight.data = torch.tensor(np.array(ours.kernel.numpy().transpose(3, 2, 0, 1)))
    if theirs.bias is not None:
        theirs.bias.data = torch.tensor(ours.bias.numpy())


def give_block(torch, theirs, model, name):
    for first, number in ((0, 1), (3, 2)):
        give_conv(torch, theirs[first], model.get_layer(f"{name}_conv{number}"))
        norm = model.get_layer(f"{name}_conv{number}_norm")
        values = norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance
        weight, bias, mean, variance = (torch.tensor(value.numpy()) for value in values)
        theirs[first + 1].weight.data, theirs[first + 1].bias.data = weight, bias
        theirs[first + 1].running_mean, theirs[first + 1].running_var = mean, variance


@pytest.mark.parametrize("decoder", ["same", "double"])
def test_the_same_weights_give_the_same_logits(torch, cars_pytorch, decoder):
    settings = {"depth": cars_pytorch.DEPTH, "filters": 4, "decoder_filters": decoder, "norm_epsilon": 1e-5}
    model = build_unet(image_shape=(48, 64, 3), num_classes=2, **settings)
    net = cars_pytorch.UNet(3, 2, 4, decoder, 1e-5)
    random = np.random.default_rng(0)
    for weight in model.weights:  # running means and gains too, so that none of them can be left out
        if weight.path.endswith(("gamma", "beta", "moving_mean", "moving_variance")):
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
    for level, block in enumerate(net.encoder):
        give_block(torch, block, model, f"encoder{level}")
    for level, up, block in zip(reversed(range(cars_pytorch.DEPTH)), net.up, net.decoder, strict=True):
        give_conv(torch, up[0], model.get_layer(f"decoder{level}_up"))
        if decoder == "double":
            give_conv(torch, up[1], model.get_layer(f"decoder{level}_halve"))
        give_block(torch, block, model, f"decoder{level}")
    give_conv(torch, net.logits, model.get_layer("logits"))
    assert sum(weight.numel() for weight in net.parameters()) == sum(
        int(np.prod(weight.shape)) for weight in model.trainable_weights
    )
    image = random.normal(size=(1, 48, 64, 3)).astype(np.float32)
    for training in (False, True):  # the second moves the running variances, PyTorch's by n / (n - 1) more
        ours = model(image, training=training).numpy()
        with torch.no_grad():
            theirs = net.train(training)(torch.tensor(image.transpose(0, 3, 1, 2).copy())).numpy()
        np.testing.assert_allclose(theirs.transpose(0, 2, 3, 1), ours, atol=2e-5 * np.abs(ours).max())


def test_segframes_first_weights_have_the_same_deviations(torch, cars_pytorch):
    model = build_unet(image_shape=(16, 16, 3), num_classes=2, filters=32, depth=cars_pytorch.DEPTH)
    torch.manual_seed(0)
    net = cars_pytorch.UNet(3, 2, 32, "double", 1e-5)
    net.apply(cars_pytorch.as_segframe)
    pairs = [
        (net.encoder[2][0], "encoder2_conv1"),
        (net.up[0][0], "decoder3_up"),
        (net.up[0][1], "decoder3_halve"),
    ]
    for theirs, name in pairs:
        ours = model.get_layer(name).kernel.numpy()
        assert theirs.weight.std().item() == pytest.approx(ours.std(), rel=0.02)
        assert theirs.weight.abs().max().item() == pytest.approx(np.abs(ours).max(), rel=0.02)
    assert not net.up[0][1].bias.any()
