"""segframe_unet.attention: the formula, and where the U-Net's gates stand."""

import keras
import numpy as np
import pytest

from segframe_unet import build_unet
from segframe_unet.attention import attention_gate

NORM = {"momentum": 0.9, "epsilon": 1e-3}
TINY = {"image_shape": (20, 28, 3), "num_classes": 3, "depth": 2, "filters": 4}


def random_values(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("gating_channels, channels", [(4, 4), (4, 7), (3, 1)])
def test_gate_is_the_papers_formula(gating_channels, channels):
    gating, skip = (keras.Input((None, None, number)) for number in (gating_channels, channels))
    model = keras.Model([gating, skip], attention_gate(gating, skip, norm=NORM, name="gate"))
    width = max(channels // 2, 1)
    of_norm = random_values(4, width, seed=1) ** 2 + 0.1
    of_norm[1:3] -= 1.5  # shift and mean of either sign
    kernel, weight = random_values(1, 1, gating_channels + channels, width), random_values(1, 1, width, 1)
    model.get_layer("gate_attention").set_weights([kernel])
    model.get_layer("gate_attention_norm").set_weights(list(of_norm))
    model.get_layer("gate_attention_weight").set_weights([weight, np.array([0.3])])

    gates, skips = random_values(2, 5, 6, gating_channels, seed=2), random_values(2, 5, 6, channels, seed=3)
    scale, shift, mean, variance = of_norm
    x = gates @ kernel[0, 0, :gating_channels] + skips @ kernel[0, 0, gating_channels:]
    x = np.maximum((x - mean) / np.sqrt(variance + 1e-3) * scale + shift, 0)
    wanted = skips / (1 + np.exp(-(x @ weight[0, 0] + 0.3)))
    result = model([gates.astype(np.float32), skips.astype(np.float32)])
    np.testing.assert_allclose(result, wanted, rtol=1e-5, atol=1e-5)  # float32


@pytest.mark.parametrize("skip", ["concat", "split"])
def test_each_skip_passes_a_gate_driven_by_what_came_up(skip):
    model = build_unet(**TINY, attention=True, skip=skip, dropout=0.1)
    for level in (0, 1):
        gated = model.get_layer(f"decoder{level}_attended")
        sources = [each._keras_history.operation.name for each in gated.input]
        assert sources == [f"encoder{level}_dropout", f"decoder{level}_attention_weight"]
        came = [
            each._keras_history.operation.name for each in model.get_layer(f"decoder{level}_attention").input
        ]
        assert came == [f"decoder{level}_halve", f"encoder{level}_dropout"]
        joined = "concat" if skip == "concat" else "conv1"
        taken = model.get_layer(f"decoder{level}_{joined}").input
        assert taken[1]._keras_history.operation.name == gated.name


@pytest.mark.parametrize("depth, filters", [(1, 1), (2, 4), (4, 16)])
def test_gates_add_these_parameters(depth, filters):
    settings = TINY | {"depth": depth, "filters": filters}
    added = 0
    for level in range(depth):
        width = filters * 2**level
        inner = max(width // 2, 1)
        added += 2 * width * inner + 4 * inner + inner + 1
    plain = build_unet(**settings).count_params()
    assert build_unet(**settings, attention=True).count_params() - plain == added
