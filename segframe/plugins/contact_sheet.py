"""A picture of many samples of a data set with their masks laid over: the first thing to look at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segframe.dataset import IGNORED, Dataset

if TYPE_CHECKING:
    import numpy as np

COLUMNS = 6
INCHES, DPI = 1.9, 100
PIXELS = 256
"""The longer side of a picture on the sheet at most."""


def chosen(dataset: Dataset, count: int) -> list[tuple[str, int]]:
    """(split, index) of `count` samples or of all: evenly spaced, of each split at least one."""
    total = sum(len(dataset.ids(split)) for split in dataset.splits)
    found = []
    for split in dataset.splits:
        samples = len(dataset.ids(split))
        share = min(samples, max(1, round(count * samples / total)))
        found += [(split, round(index * (samples - 1) / max(share - 1, 1))) for index in range(share)]
    return found


def contact_sheet(path: Path, dataset: Dataset, samples: Sequence[tuple[str, int]]) -> None:
    """Write a PNG: each sample's image, its foreground coloured and outlined, void pixels grey."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    from segframe.figures import UNKNOWN, class_colour, save

    rows = math.ceil(len(samples) / COLUMNS)
    ratio = dataset.image_shape[0] / dataset.image_shape[1]
    size = COLUMNS * INCHES, rows * (INCHES * min(max(ratio, 0.4), 2.0) + 0.25) + 0.6
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    grid = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axis in grid:
        axis.set_axis_off()
    met: set[int] = set()
    for axis, (split, index) in zip(grid, samples, strict=False):
        image, mask = dataset.read(split, [index])[0]
        step = max(1, math.ceil(max(mask.shape) / PIXELS))
        image, mask = image[::step, ::step], mask[::step, ::step]
        met.update(set(mask.ravel().tolist()))
        axis.imshow(_laid_over(image, mask, dataset.class_names))
        axis.set_title(f"{split}: {dataset.ids(split)[index]}"[-34:], fontsize=6, loc="left")
    colours = [
        (name, class_colour(i, dataset.class_names)) for i, name in enumerate(dataset.class_names) if i in met
    ]
    handles = [Patch(color=colour[:3], label=name) for name, colour in colours if colour is not None]
    if IGNORED in met:
        handles.append(Patch(color=UNKNOWN, label="void"))
    if handles:
        columns = min(len(handles), 8)
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)
    save(figure, path)


def _laid_over(image: np.ndarray, mask: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """(height, width, 3) float in [0, 1]."""
    import numpy as np
    from matplotlib.colors import to_rgb

    from segframe.figures import UNKNOWN, class_colour

    shown = (image if image.shape[2] == 3 else np.repeat(image[..., :1], 3, axis=2)).astype(np.float32)
    low, high = (0.0, 255.0) if image.dtype == np.uint8 else (float(shown.min()), float(shown.max()))
    shown = (shown - low) / (high - low) if high > low else np.zeros_like(shown)
    for class_id in range(len(class_names)):
        colour = class_colour(class_id, class_names)
        if colour is None:
            continue
        inside = mask == class_id
        shown[inside] = 0.65 * shown[inside] + 0.35 * np.array(colour[:3], np.float32)
        shown[inside & _edge(inside)] = colour[:3]
    shown[mask == IGNORED] = to_rgb(UNKNOWN)
    return shown


def _edge(inside: np.ndarray) -> np.ndarray:
    """Pixels with a neighbour of another kind."""
    import numpy as np

    found = np.zeros_like(inside)
    found[1:] |= inside[1:] != inside[:-1]
    found[:-1] |= inside[1:] != inside[:-1]
    found[:, 1:] |= inside[:, 1:] != inside[:, :-1]
    found[:, :-1] |= inside[:, 1:] != inside[:, :-1]
    return found
