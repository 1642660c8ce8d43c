"""Residual blocks.

A block is called as block(parts, filters, *, norm, name, ...): `parts` are feature maps to be taken for their
concatenation, one or two; channels become `filters`, height and width are divided by `stride`.
"""

from __future__ import annotations

from typing import Literal

from segframe_unet.blocks import conv, join, normalised, normalised_conv, relu

EXPANSION = 4
"""A bottleneck's output has this many times the channels of its 3x3 convolution (He et al., 2016a)."""


def residual_block(
    parts: list,
    filters: int,
    *,
    norm: dict[str, float],
    name: str,
    kind: Literal["basic", "bottleneck"] = "basic",
    skip: str = "concat",
    stride: int = 1,
):
    """relu(x + f(x)), f = 3x3 convolution, batch normalisation, ReLU, 3x3 convolution, batch normalisation.

    "bottleneck": f has three convolutions, 1x1 to filters / 4, 3x3, and 1x1 to filters. The stride is that of
    the first 3x3 convolution (He's own bottlenecks stride in the 1x1 before it; in the 3x3 is called v1.5).
    Where channels or size change, or parts are two, x passes through a 1x1 convolution of that stride and a
    batch normalisation first (option B of the paper).

    Source:
        He et al., Deep Residual Learning, 2016, https://arxiv.org/abs/1512.03385.
    """
    projects = _changes(parts, filters, stride)
    parts = join(parts, skip, name=name)
    shortcut = parts[0]
    if projects:
        shortcut = normalised_conv(
            parts, filters, norm=norm, name=f"{name}_shortcut", kernel_size=1, stride=stride
        )
    branch = _branch(filters, kind, stride)
    for number, (width, kernel_size, step) in enumerate(branch, 1):
        x = normalised_conv(
            parts, width, norm=norm, name=f"{name}_conv{number}", kernel_size=kernel_size, stride=step
        )
        if number < len(branch):
            x = relu(x, name=f"{name}_relu{number}")
        parts = [x]
    return relu(_add(x, shortcut, name), name=f"{name}_relu{len(branch)}")


def preactivation_block(
    parts: list,
    filters: int,
    *,
    norm: dict[str, float],
    name: str,
    kind: Literal["basic", "bottleneck"] = "basic",
    skip: str = "concat",
    stride: int = 1,
    activated: bool = False,
):
    """x + f(x), f = (batch normalisation, ReLU, 3x3 convolution) twice; kind and stride as in residual_block.

    Where channels or size change, or parts are two, x passes through the first normalisation and ReLU of f
    and then a 1x1 convolution of that stride, as in the authors' code (their option "both_preact"): its batch
    normalisation comes before it. Two parts are normalised one by one and then joined, which is the same as
    the reverse.

    Args:
        activated: the input has been normalised and rectified already; it is so for both paths, as in the
            first block of the paper's networks.

    Source:
        He et al., Identity Mappings in Deep Residual Networks, 2016, https://arxiv.org/abs/1603.05027.
    """
    shortcut, projects = parts[0], _changes(parts, filters, stride)
    if not activated:
        marks = "ab" if len(parts) > 1 else [""]
        parts = [
            activate(part, norm, name=f"{name}_pre{mark}") for part, mark in zip(parts, marks, strict=True)
        ]
    parts = join(parts, skip, name=name)
    if projects:
        shortcut = conv(parts, filters, name=f"{name}_shortcut", kernel_size=1, stride=stride)
    branch = _branch(filters, kind, stride)
    for number, (width, kernel_size, step) in enumerate(branch, 1):
        x = conv(parts, width, name=f"{name}_conv{number}", kernel_size=kernel_size, stride=step)
        if number < len(branch):
            parts = [activate(x, norm, name=f"{name}_conv{number}")]
    return _add(x, shortcut, name)


def activate(x, norm: dict[str, float], *, name: str):
    """Batch normalisation and ReLU."""
    return relu(normalised(x, norm, name=f"{name}_norm"), name=f"{name}_relu")


def _branch(filters: int, kind: str, stride: int) -> list[tuple[int, int, int]]:
    """(channels, kernel size, stride) of each convolution."""
    if kind == "basic":
        return [(filters, 3, stride), (filters, 3, 1)]
    return [(filters // EXPANSION, 1, 1), (filters // EXPANSION, 3, stride), (filters, 1, 1)]


def _changes(parts: list, filters: int, stride: int) -> bool:
    return len(parts) > 1 or parts[0].shape[-1] != filters or stride > 1


def _add(x, shortcut, name: str):
    from keras import layers

    return layers.Add(name=f"{name}_add")([x, shortcut])
