"""How much of a trained network's logits is a checkerboard, the artefact of upsampling.

    python benchmarks/checkerboard.py RUN_DIR DATA.h5 [--out FILE.json] [--picture FILE.npz]

Odena, Dumoulin and Olah 2016, https://doi.org/10.23915/distill.00003, show the artefact: a transposed
convolution whose kernel (3) is no multiple of its stride (2) adds up unevenly, with a period of two pixels.
They give no number for it. Ours, of logits less their mean over the classes:

    period2_share     of the variance over a test image, what repeats every 2 pixels all over it: the energy
                      of the frequencies (0, 1/2), (1/2, 0) and (1/2, 1/2) cycles per pixel
    nyquist_share     of the variance over a test image, what has 0.45 cycles per pixel or more along rows or
                      columns (Hann window): checkerboards whose strength follows the image too, and sharp
                      edges, so it is to be compared between networks only
    constant_pattern  on images of one grey (0.25, 0.5, 0.75 of the range), which have nothing to follow: the
                      spread of the logits (standard deviation), over that of the logits on test images. Only
                      the middle is looked at, 10 * 2^depth pixels from the edges: padding does not reach it

The first two are means over the test images, from 0 (none) to 1; the last has no upper end.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import h5py
import numpy as np

GREYS = (0.25, 0.5, 0.75)
BAND = 0.45  # cycles per pixel


def contrast(logits: np.ndarray) -> np.ndarray:
    """(height, width, classes) logits -> less their mean over the classes, which no softmax sees; float64."""
    logits = np.asarray(logits, np.float64)
    return logits - logits.mean(-1, keepdims=True)


def period2_share(logits: np.ndarray) -> float:
    """Of the variance of each class over the image, all classes together: what repeats every 2 pixels.

    An odd last row or column is left out. nan where the logits do not vary.
    """
    (rows, columns), classes = (side // 2 * 2 for side in logits.shape[:2]), logits.shape[2]
    even = contrast(logits)[:rows, :columns]
    even = even - even.mean((0, 1))
    phases = even.reshape(rows // 2, 2, columns // 2, 2, classes).mean((0, 2))
    return _share(np.square(phases).mean((0, 1)), np.square(even).mean((0, 1)))


def nyquist_share(logits: np.ndarray) -> float:
    """Of the variance, all classes together: what has BAND cycles per pixel or more along an axis."""
    varying = contrast(logits)
    varying = varying - varying.mean((0, 1))
    rows, columns = varying.shape[:2]
    window = np.hanning(rows + 2)[1:-1, None] * np.hanning(columns + 2)[1:-1]
    energy = np.square(np.abs(np.fft.fft2(varying * window[..., None], axes=(0, 1))))
    fast = (np.abs(np.fft.fftfreq(rows)) >= BAND)[:, None] | (np.abs(np.fft.fftfreq(columns)) >= BAND)
    return _share(energy[fast].sum(0), energy.sum((0, 1)))


def _share(part: np.ndarray, whole: np.ndarray) -> float:
    return float(part.sum() / whole.sum()) if whole.sum() > 0 else float("nan")


def measure(serve, images: np.ndarray, depth: int) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """The numbers of the module's docstring, and what a picture of them needs.

    Args:
        serve: raw images (batch, height, width, channels) float32 -> logits (batch, height, width, classes).
        images: (images, height, width, channels) uint8 or float32 in [0, 1], as in the file.
        depth: poolings of the network.
    """
    logits = np.concatenate([np.asarray(serve(image[None].astype(np.float32))) for image in images])
    spread = float(np.sqrt(np.square(contrast(logits) - contrast(logits).mean((1, 2), keepdims=True)).mean()))
    top = 255.0 if images.dtype == np.uint8 else 1.0
    side, margin = 24 * 2**depth, 10 * 2**depth
    middles = []
    for grey in GREYS:
        flat = np.full((1, side, side, images.shape[-1]), grey * top, np.float32)
        middle = contrast(serve(flat)[0])[margin:-margin, margin:-margin]
        middles.append(middle - middle.mean((0, 1)))
    pattern = float(np.sqrt(np.mean(np.square(middles))))
    numbers = {
        "period2_share": float(np.nanmean([period2_share(one) for one in logits])),
        "nyquist_share": float(np.nanmean([nyquist_share(one) for one in logits])),
        "constant_pattern": pattern / spread if spread > 0 else float("nan"),
        "constant_pattern_logits": pattern,
        "logits_spread": spread,
        "images": len(images),
    }
    return numbers, {"logits": logits[0], "constant": middles[len(GREYS) // 2]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="the folder of a finished run")
    parser.add_argument("data", type=Path, help="the HDF5 file whose test split it is measured on")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--picture", type=Path, help="write image, mask, logits of the first test image")
    arguments = parser.parse_args()

    import tensorflow as tf
    from omegaconf import OmegaConf
    from timing import share_gpus

    share_gpus()
    with h5py.File(arguments.data) as file:
        images, mask = file["test/images"][:], file["test/masks"][0]
    config = OmegaConf.load(arguments.run / "config.yaml")
    model = tf.saved_model.load(str(arguments.run / "saved_model"))
    numbers, shown = measure(lambda batch: model.serve(batch).numpy(), images, config.model.depth)
    text = json.dumps(
        {key: value if np.isfinite(value) else None for key, value in numbers.items()}, indent=1
    )
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    if arguments.picture:
        shown = {name: values.astype(np.float16) for name, values in shown.items()}
        np.savez_compressed(arguments.picture, image=images[0], mask=mask, **shown)
    print(text)


if __name__ == "__main__":
    main()
