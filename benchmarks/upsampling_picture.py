"""The picture of docs/upsampling.md: a piece of a test image's logits by each way up, and of a grey image's.

    python benchmarks/upsampling_picture.py upsampling.runs --out docs/upsampling_membrane.png

upsampling.runs is the folder of `benchmarks/study.py upsampling`; needs its .npz files of the data set only.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from study_grids import WAYS_UP

from segframe.figures import DPI, save

SIDE = 96
"""Pixels of the piece: few enough for a period of two to be seen."""


def odds(logits: np.ndarray) -> np.ndarray:
    """(height, width, classes) -> (height, width) float64: log-odds of class 1 against class 0."""
    logits = logits.astype(np.float64)
    return logits[..., 1] - logits[..., 0]


def picture(files: dict[str, Path], out: Path) -> None:
    """Upper row: image with mask, then the log-odds of each network; lower row: those on a grey image.

    Args:
        files: {way up: what benchmarks/checkerboard.py --picture wrote of its network}.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.3 * (len(files) + 1), 5.2), dpi=DPI, layout="constrained")
    axes = figure.subplots(2, len(files) + 1)
    for axis in axes.flat:
        axis.set_axis_off()
    for column, (name, file) in enumerate(files.items(), 1):
        with np.load(file) as shown:
            piece = _middle(shown["mask"].shape)
            if column == 1:
                image = shown["image"][piece]
                axes[0, 0].imshow(image if image.shape[-1] == 3 else image[..., 0], cmap="gray")
                axes[0, 0].contour(shown["mask"][piece] == 1, levels=[0.5], colors="#E69F00", linewidths=0.8)
                axes[0, 0].set_title("image, mask", fontsize=9)
            values, flat = odds(shown["logits"])[piece], odds(shown["constant"])
        limit = float(np.abs(values).max())
        axes[0, column].imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
        axes[0, column].set_title(f"{name}: log-odds", fontsize=9)
        # The scale of the network's own logits, so that what cannot be seen does not matter.
        swing = float(values.std())
        axes[1, column].imshow(flat, cmap="RdBu_r", vmin=-swing, vmax=swing, interpolation="nearest")
        axes[1, column].set_title(f"on grey: {flat.std() / swing:.2g} of the piece's spread", fontsize=9)
    save(figure, out)


def _middle(shape: tuple[int, ...]) -> tuple[slice, slice]:
    tops = [max(0, (side - SIDE) // 2) for side in shape]
    return slice(tops[0], tops[0] + SIDE), slice(tops[1], tops[1] + SIDE)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", default="membrane")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    files = {up: arguments.runs / f"upsampling-{arguments.data}-{up}-{arguments.seed}.npz" for up in WAYS_UP}
    missing = [str(file) for file in files.values() if not file.exists()]
    if missing:
        raise SystemExit(f"not there: {', '.join(missing)}; run benchmarks/study.py upsampling first")
    picture(files, arguments.out)


if __name__ == "__main__":
    main()
