"""The U-Net's way down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import keras
from keras import layers


def encode(
    x: keras.KerasTensor,
    block: Callable[..., keras.KerasTensor],
    *,
    depth: int,
    filters: int,
    dropout: float,
    downsample: Literal["pool", "stride"] = "pool",
    first: Callable[..., keras.KerasTensor] | None = None,
) -> list[keras.KerasTensor]:
    """Feature maps of the levels 0 to depth, level n of filters * 2**n channels and 1 / 2**n of the size.

    Args:
        block: called as block([x], filters, name=...), and with stride=2 where it is to halve the size.
        downsample: "pool" halves by 2x2 max pooling before a block, "stride" leaves it to the block.
        first: the block of level 0, if it is another one.
    """
    levels: list[keras.KerasTensor] = []
    for level in range(depth + 1):
        name, width = f"encoder{level}", filters * 2**level
        if level == 0:
            x = (first or block)([x], width, name=name)
        elif downsample == "pool":
            x = layers.MaxPooling2D(name=f"encoder{level - 1}_pool")(x)
            x = block([x], width, name=name)
        else:
            x = block([x], width, name=name, stride=2)
        if dropout > 0:
            x = layers.Dropout(dropout, name=f"{name}_dropout")(x)
        levels.append(x)
    return levels
