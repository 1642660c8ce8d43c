"""`data export`: an HDF5 data set back to folders of images and masks, exact, for `data import` to read."""

from __future__ import annotations

import csv
import logging
import os
import shlex
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from segframe.errors import SegframeError
from segframe.plugins.data_words import PROGRAM
from segframe.plugins.hdf5 import open_hdf5
from segframe.plugins.hdf5_dataset import Hdf5Dataset
from segframe.plugins.png_rows import GREY, NONE, RGB, UP, PngRows

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("segframe")

SIXTEEN = 65535


def export(path: Path, folder: Path, shown: Callable[..., Iterable]) -> None:
    """Write folder/images/SPLIT/ID and folder/masks/SPLIT/ID.png; the folder is there whole or not at all.

    Raises:
        SegframeError: the file cannot be read, the folder is there, or no image format holds the values.
    """
    if folder.exists():
        remedy = "Name a new one."
        raise SegframeError(
            f"folder {folder}", expected="a new folder", got="one that is there", remedy=remedy
        )
    dataset = open_hdf5(path=str(path))
    partial = folder.with_name(f".{os.getpid()}.{folder.name}")
    work = [(split, index) for split in dataset.splits for index in range(len(dataset.ids(split)))]
    try:
        write, ending = _writer(dataset, path, lambda: shown(work, "looking", len(work)))
        for split, index in shown(work, "writing", len(work)):
            image, _ = dataset.read(split, [index])[0]
            name = _file_name(dataset.ids(split)[index])
            targets = (
                partial / "images" / split / (name + ending),
                partial / "masks" / split / (name + ".png"),
            )
            for target in targets:
                target.parent.mkdir(parents=True, exist_ok=True)
            if targets[0].exists():
                remedy = "Rename one of the samples in the file."
                expected = "names that differ as file names do"
                raise SegframeError(f"sample {name!r}", expected=expected, got="one twice", remedy=remedy)
            write(targets[0], image)
            _write_png(targets[1], dataset.masks(split, index)[..., None], NONE)
        words = _words(dataset, partial, folder)
        os.replace(partial, folder)
    except OSError as error:
        remedy = "Check that you may write there and that the disk has room."
        raise SegframeError(
            f"folder {folder}", expected="a place to write", got=str(error), remedy=remedy
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        dataset.close()
    log.info("wrote %s: %d samples", folder, len(work))
    folders = " ".join(shlex.quote(str(folder / kind)) for kind in ("images", "masks"))
    log.info("back again: %s import %s OUT.h5 %s", PROGRAM, folders, words)


def _writer(
    dataset: Hdf5Dataset, path: Path, samples: Callable[[], Iterable[tuple[str, int]]]
) -> tuple[Callable[[Path, np.ndarray], None], str]:
    """The format that holds all images exactly, and the ending of its files."""
    import numpy as np

    channels = dataset.image_shape[2]
    first = dataset.read("train", [0])[0].image
    if channels in (1, 3) and first.dtype == np.uint8:
        return _write_png, ".png"
    if channels in (1, 3):
        if all(_is_16_bit(dataset.read(split, [index])[0].image) for split, index in samples()):
            log.info("images are multiples of 1/65535: they become PNG of 16 bits")
            return lambda target, image: _write_png(target, _as_16_bit(image)), ".png"
        if channels == 1:
            log.info("images are floats: they become TIFF of 32-bit floats")
            return _write_tiff, ".tif"
    raise SegframeError(
        f"data file {path}, images",
        expected="1 or 3 channels of 8 or 16 bits, or 1 of floats",
        got=f"{channels} channels {first.dtype}",
        remedy="No image format here holds them exactly: read them with h5py.",
    )


def _words(dataset: Hdf5Dataset, partial: Path, folder: Path) -> str:
    """What `data import` has to be told to have the same data set again."""
    names, ignore = dataset.file_classes()
    words = [f"--class-names {shlex.quote(','.join(names))}"]
    if ignore is not None:
        words.append(f"--ignore {ignore}")
    if dataset.spacing:
        words.append(f"--spacing {','.join(map(repr, map(float, dataset.spacing)))}")
    if any(tuple(dataset.groups(split)) != tuple(dataset.ids(split)) for split in dataset.splits):
        with open(partial / "groups.csv", "w", newline="", encoding="utf-8") as file:
            for split in dataset.splits:
                names_in_file = map(_file_name, dataset.ids(split))
                csv.writer(file).writerows(zip(names_in_file, dataset.groups(split), strict=True))
        words.append(f"--groups {shlex.quote(str(folder / 'groups.csv'))}")
    return " ".join(words)


def _file_name(sample: str) -> str:
    """A sample's name as a file's: without what no file name may have."""
    name = sample.replace("/", "_").replace("\0", "_")
    return f"_{name[1:]}" if name.startswith(".") else name


def _is_16_bit(image: np.ndarray) -> bool:
    import numpy as np

    inside = image.min() >= 0 and image.max() <= 1
    return bool(inside and ((_as_16_bit(image) / np.float64(SIXTEEN)).astype(np.float32) == image).all())


def _as_16_bit(image: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.rint(image.astype(np.float64) * SIXTEEN).astype(np.uint16)


def _write_png(path: Path, image: np.ndarray, filtered: int = UP) -> None:
    """(height, width, 1 or 3) uint8 or uint16."""
    height, width, channels = image.shape
    kind, bits = RGB if channels == 3 else GREY, 8 * image.itemsize
    with PngRows(path, height, width, kind, bits=bits, filtered=filtered) as png:
        png.write(image)


def _write_tiff(path: Path, image: np.ndarray) -> None:
    from PIL import Image

    Image.fromarray(image[..., 0]).save(path, "TIFF")
