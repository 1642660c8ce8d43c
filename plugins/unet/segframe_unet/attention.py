"""Attention gates on the skips."""

from __future__ import annotations

from keras import layers

from segframe_unet.blocks import normalised_conv, relu


def attention_gate(gating, skip, *, norm: dict[str, float], name: str):
    """skip * sigmoid(psi(relu(norm(W_g gating + W_x skip)))): where the way up finds nothing, the skip fades.

    W_g and W_x are 1x1 convolutions to half the skip's channels, psi one with bias to a single channel: the
    additive gate of the paper, with batch normalisation for its bias. The paper takes the gating signal
    before it goes up and interpolates the weights; here it has gone up already, so both maps are of
    (batch, height, width, their channels). The paper's convolution behind the gate is left out.

    Source:
        Oktay et al., Attention U-Net, 2018, https://arxiv.org/abs/1804.03999.
    """
    width = max(skip.shape[-1] // 2, 1)
    x = normalised_conv([gating, skip], width, norm=norm, kernel_size=1, name=f"{name}_attention")
    x = relu(x, name=f"{name}_attention_relu")
    weight = layers.Conv2D(1, 1, activation="sigmoid", name=f"{name}_attention_weight")(x)
    return layers.Multiply(name=f"{name}_attended")([skip, weight])
