"""What the core knows and hands to builders beside their config sections (segframe.catalog.FACTS)."""

from __future__ import annotations

from functools import cache
from typing import Any

from segframe.class_weights import count_class_pixels
from segframe.dataset import IGNORED, Dataset
from segframe.split import Part


def model_facts(dataset: Dataset) -> dict[str, Any]:
    return {"image_shape": tuple(dataset.image_shape), "num_classes": dataset.num_classes}


def mask_facts(dataset: Dataset) -> dict[str, Any]:
    """Of whatever works on masks: losses, maps, metrics."""
    return {"num_classes": dataset.num_classes, "ignore_index": IGNORED, "spacing": dataset.spacing}


def loss_facts(dataset: Dataset, train: Part, *, warped: bool = False) -> dict[str, Any]:
    """`warped` is known when the augmentations are built; before that a loss is told that nothing warps."""
    return {
        **mask_facts(dataset),
        "class_pixels": cache(lambda: count_class_pixels(dataset, train)),
        "warped": warped,
    }
