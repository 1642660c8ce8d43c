"""PNG figures of a run: what was predicted on some test images, and the curves of its epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from segframe.atomic import replacing
from segframe.dataset import IGNORED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito, Color Universal Design (2008), https://jfly.uni-koeln.de/color/: for the colour-blind too.
PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
WRONG, UNKNOWN = "#D81B60", "#9E9E9E"
OPACITY = 0.55
INCHES, DPI = 2.6, 110
LARGEST = 1024  # a panel has about 300 pixels


class Overlay(NamedTuple):
    """One row of `overlay_grid`.

    image is (height, width, channels) uint8 or float32, mask and prediction (height, width) class ids.
    """

    title: str
    image: np.ndarray
    mask: np.ndarray
    prediction: np.ndarray


def class_colour(class_id: int, class_names: Sequence[str]) -> tuple[float, float, float, float] | None:
    """Red, green, blue, opacity of a class, the same in every figure; None for the background.

    More classes than colours: the palette goes round again, darker each time.
    """
    from matplotlib.colors import to_rgb

    if class_names[class_id] == "background":
        return None
    index = class_id - 1 if class_names[0] == "background" else class_id
    darker = 0.62 ** (index // len(PALETTE))
    red, green, blue = to_rgb(PALETTE[index % len(PALETTE)])
    return red * darker, green * darker, blue * darker, OPACITY


def overlay_grid(path: Path, samples: Sequence[Overlay], class_names: Sequence[str]) -> None:
    """Each sample a row: image, mask, prediction, disagreement. Ignored pixels are grey.

    Of images of more than LARGEST pixels along a side every second, third, ... pixel is drawn.
    """
    from matplotlib.figure import Figure

    samples = [thinned(sample) for sample in samples]
    ratio = float(np.mean([sample.mask.shape[0] / sample.mask.shape[1] for sample in samples]))
    row_inches = INCHES * min(max(ratio, 0.4), 2.0) + 0.35
    figure = Figure(figsize=(4 * INCHES, len(samples) * row_inches + 0.6), dpi=DPI, layout="constrained")
    rows = figure.subplots(len(samples), 4, squeeze=False)
    for axes, sample in zip(rows, samples, strict=True):
        _overlay_row(axes, sample, class_names)
    for axis, heading in zip(rows[0], ("image", "mask", "prediction", "disagreement"), strict=True):
        above = axis.get_title(loc="left")
        axis.set_title(f"{heading}\n{above}" if above else f"{heading}\n", loc="left", fontsize=9)
    _class_legend(figure, samples, class_names)
    save(figure, path)


def thinned(sample: Overlay) -> Overlay:
    """What is drawn of a sample; of a large one it does not keep the rest in memory."""
    step = -(-max(sample.mask.shape) // LARGEST)
    if step == 1:
        return sample
    arrays = (values[::step, ::step].copy() for values in (sample.image, sample.mask, sample.prediction))
    return Overlay(sample.title, *arrays)


def curves(path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Losses on the left, scores on the right, over the epochs; what a run does not have is not drawn.

    Args:
        history: one mapping per epoch: `epoch` (from 1), `train/loss`, `val/loss`, `val/dice`, ...; None
            where a number is undefined.
    """
    from matplotlib.figure import Figure

    keys = {key for epoch in history for key, value in epoch.items() if value is not None}
    losses = [key for key in ("train/loss", "val/loss") if key in keys]
    scores = [key for key in ("val/dice", "val/iou", "val/pixel_accuracy") if key in keys]
    panels = [(name, chosen) for name, chosen in (("loss", losses), ("score", scores)) if chosen]
    figure = Figure(figsize=(4.6 * max(len(panels), 1), 3.2), dpi=DPI, layout="constrained")
    for axis, (name, chosen) in zip(
        figure.subplots(1, len(panels) or 1, squeeze=False)[0], panels, strict=False
    ):
        _curves_panel(axis, name, chosen, history)
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write a PNG whole or not at all."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))


def _overlay_row(axes: Sequence[Axes], sample: Overlay, class_names: Sequence[str]) -> None:
    ignored = sample.mask == IGNORED
    picture = _shown(sample.image)
    layers = (
        None,
        _coloured(sample.mask, class_names, ignored),
        _coloured(sample.prediction, class_names, None),
        _disagreement(sample, ignored),
    )
    for axis, layer in zip(axes, layers, strict=True):
        axis.imshow(picture)
        if layer is not None:
            axis.imshow(layer, interpolation="nearest")
        axis.set_axis_off()
    axes[0].set_title(sample.title, loc="left", fontsize=9)


def _shown(image: np.ndarray) -> np.ndarray:
    """(height, width, channels) of any number -> (height, width, 3) in [0, 1], stretched to its own range."""
    channels = image if image.shape[-1] == 3 else np.repeat(image[..., :1], 3, axis=-1)
    if image.dtype == np.uint8:
        return channels.astype(np.float32) / 255.0
    finite = np.nan_to_num(channels.astype(np.float32))
    low, high = float(finite.min()), float(finite.max())
    return (finite - low) / (high - low) if high > low else np.zeros_like(finite)


def _coloured(ids: np.ndarray, class_names: Sequence[str], ignored: np.ndarray | None) -> np.ndarray:
    """(height, width) class ids -> (height, width, 4) to be laid over the image."""
    from matplotlib.colors import to_rgba

    layer = np.zeros((*ids.shape, 4), np.float32)
    for class_id in range(len(class_names)):
        colour = class_colour(class_id, class_names)
        if colour is not None:
            layer[ids == class_id] = colour
    if ignored is not None:
        layer[ignored] = to_rgba(UNKNOWN, 0.85)
    return layer


def _disagreement(sample: Overlay, ignored: np.ndarray) -> np.ndarray:
    from matplotlib.colors import to_rgba

    layer = np.zeros((*sample.mask.shape, 4), np.float32)
    layer[sample.mask != sample.prediction] = to_rgba(WRONG, 0.9)
    layer[ignored] = to_rgba(UNKNOWN, 0.85)
    return layer


def _class_legend(figure: Figure, samples: Sequence[Overlay], class_names: Sequence[str]) -> None:
    """The classes that are there to be seen, then wrong and ignored pixels."""
    from matplotlib.patches import Patch

    seen = {int(i) for sample in samples for ids in (sample.mask, sample.prediction) for i in np.unique(ids)}
    named = [(name, class_colour(i, class_names)) for i, name in enumerate(class_names) if i in seen]
    handles = [Patch(color=colour[:3], label=name) for name, colour in named if colour is not None]
    handles.append(Patch(color=WRONG, label="prediction is not the mask"))
    if IGNORED in seen:
        handles.append(Patch(color=UNKNOWN, label="ignored"))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(len(handles), 6), frameon=False, fontsize=9
    )


def _curves_panel(axis: Axes, name: str, keys: Sequence[str], history: Sequence[Mapping[str, Any]]) -> None:
    from matplotlib.ticker import MaxNLocator

    colours = ("#0072B2", "#D55E00", "#009E73")
    for key, colour in zip(keys, colours, strict=False):
        points = [
            (epoch.get("epoch", i + 1), epoch[key])
            for i, epoch in enumerate(history)
            if epoch.get(key) is not None
        ]
        label = key if name == "loss" else key.replace("_", " ")
        axis.plot(
            *zip(*points, strict=True),
            color=colour,
            label=label,
            marker="o" if len(points) < 30 else "",
            ms=3,
        )
    axis.set_xlabel("epoch")
    axis.set_ylabel(name)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=9)
