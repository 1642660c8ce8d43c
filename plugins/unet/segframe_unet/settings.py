"""What the networks' settings may be; checked before TensorFlow is imported."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from segframe import SegframeError

Rule = tuple[str, Any, str, bool, str]
"""A key of the section `model`, its value, what it may be, whether it is that, and a value that is."""

CHOICES = {
    "upsample": ("transpose", "bilinear", "nearest", "subpixel"),
    "decoder_filters": ("double", "same"),
    "head": ("softmax", "sigmoid"),
    "skip": ("concat", "split"),
}


@dataclass(frozen=True)
class DecoderSettings:
    """The way up and the heads; what each means is said by unet.build_unet.

    norm: momentum and epsilon, as keras.layers.BatchNormalization takes them.
    """

    num_classes: int
    filters: int
    upsample: str
    decoder_filters: str
    head: str
    norm: dict[str, float]
    skip: str
    attention: bool
    deep_supervision: int

    def check(self, levels: int) -> None:
        """Check them for a decoder of this many levels.

        Raises:
            SegframeError: a setting is out of its range.
        """
        head, momentum, epsilon = self.head, self.norm["momentum"], self.norm["epsilon"]
        heads = f"a number from 0 to {levels - 1}, the decoder's levels but the finest"
        check(
            [
                ("filters", self.filters, "a number from 1 to 4096", 1 <= self.filters <= 4096, "16"),
                (
                    "head",
                    head,
                    f"softmax for {self.num_classes} classes",
                    head != "sigmoid" or self.num_classes == 2,
                    "softmax",
                ),
                ("norm_momentum", momentum, "a share between 0 and 1", 0 < momentum < 1, "0.9"),
                ("norm_epsilon", epsilon, "a number above 0", epsilon > 0, "0.001"),
                (
                    "deep_supervision",
                    self.deep_supervision,
                    heads,
                    0 <= self.deep_supervision < levels,
                    f"{levels - 1}",
                ),
                *(choice(key, getattr(self, key), allowed) for key, allowed in CHOICES.items()),
            ]
        )


def check(rules: Iterable[Rule]) -> None:
    """
    Raises:
        SegframeError: a value is not what its rule says.
    """
    for key, value, expected, right, good in rules:
        if not right:
            raise SegframeError(
                f"model.{key}", expected=expected, got=repr(value), remedy=f"Give model.{key}={good}, say."
            )


def choice(key: str, value: str, allowed: tuple[str, ...]) -> Rule:
    """The rule of a setting that is one of several words."""
    return key, value, f"one of {', '.join(allowed)}", value in allowed, allowed[0]


def check_encoder(depth: int | Literal["auto"], dropout: float, image_shape: tuple[int, int, int]) -> int:
    """Check the settings of a U-Net's way down; returns the depth as a number.

    Raises:
        SegframeError: a setting is out of its range.
    """
    check(
        [
            # Ten poolings are a factor of 1,024; above that, memory goes long before a message comes.
            ("depth", depth, 'a number from 1 to 10 or "auto"', depth == "auto" or 1 <= depth <= 10, "4"),
            ("dropout", dropout, "a share, 0 <= dropout < 1", 0 <= dropout < 1, "0.0"),
        ]
    )
    return auto_depth(image_shape) if depth == "auto" else depth


def auto_depth(image_shape: tuple[int, int, int]) -> int:
    """floor(log2(min(height, width) / 8)), at least 1 and at most 4."""
    return min(max((min(image_shape[:2]) // 8).bit_length() - 1, 1), 4)
