"""Folders of PNG images and masks -> one HDF5 file."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from segframe.errors import SegframeError

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("segframe")

TO_8_BIT = "Convert them to 8 bits first: magick mogrify -depth 8 FOLDER/*.png"


class Pair(NamedTuple):
    """An image and its mask."""

    name: str
    image: Path
    mask: Path


class Survey(NamedTuple):
    """What the folders hold, known before anything is written."""

    sizes: set[tuple[int, int]]
    """(height, width) of all images."""
    colour: bool
    """Whether any image has colours: then all are written as RGB."""
    first_with: dict[int, str]
    """{id after mapping: name of the first sample that has it}."""


def find_pairs(images: Path, masks: Path) -> list[Pair]:
    """Images and masks of one stem, sorted by it.

    Raises:
        SegframeError: a folder is missing or empty, or a file has no partner.
    """
    of_images, of_masks = _by_stem(images), _by_stem(masks)
    for folder, own, other, kind in (
        (images, of_images, of_masks, "mask"),
        (masks, of_masks, of_images, "image"),
    ):
        alone = sorted(set(own) - set(other))
        if alone:
            raise SegframeError(
                f"folder {folder}",
                expected=f"a {kind} of the same name for each file",
                got=f"{len(alone)} without: {', '.join(alone[:5])}{', ...' * (len(alone) > 5)}",
                remedy=f"Add each missing {kind} as NAME.png, or take these files away.",
            )
    return [Pair(stem, of_images[stem], of_masks[stem]) for stem in sorted(of_images)]


def survey(pairs: Sequence[Pair], table: np.ndarray, shown: Callable[..., Iterable[Pair]]) -> Survey:
    """Look at each image's header and each mask's ids.

    Args:
        table: (256,) uint8, id in the masks -> id in the file.
        shown: wraps an iterable with a progress bar.

    Raises:
        SegframeError: a file cannot be read, has another pixel type, or image and mask differ in size.
    """
    import numpy as np

    sizes: set[tuple[int, int]] = set()
    first_with: dict[int, str] = {}
    modes: dict[str, str] = {}
    for pair in shown(pairs, "checking"):
        with _opened(pair.image) as image:
            mode, size = image.mode, image.size[::-1]
        if mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
            raise _mode_error(pair.image, "an 8-bit grey, RGB or palette image", mode)
        modes.setdefault(mode, pair.name)
        mask = read_mask(pair.mask)
        if mask.shape != size:
            sizes_met = [f"{height} x {width}" for height, width in (size, mask.shape)]
            raise SegframeError(
                f"sample {pair.name!r}",
                expected="image and mask of one size",
                got=f"image {sizes_met[0]}, mask {sizes_met[1]} (height x width)",
                remedy="Cut or scale one of them; scale masks by nearest neighbour only.",
            )
        sizes.add(size)
        for value in np.unique(table[mask]):
            first_with.setdefault(int(value), pair.name)
    for mode, name in modes.items():
        if mode in ("RGBA", "LA", "PA"):
            log.info("images with transparency (%s): it is dropped", name)
        if mode in ("P", "PA"):
            log.info("images with a palette (%s): they become RGB", name)
    colour = bool(modes.keys() & {"RGB", "RGBA", "P", "PA"})
    if colour and modes.keys() & {"1", "L", "LA"}:
        log.info("grey images among coloured ones: they become RGB")
    return Survey(sizes, colour, first_with)


def read_image(path: Path, colour: bool) -> np.ndarray:
    """(height, width, 3 or 1) uint8."""
    import numpy as np

    with _opened(path) as image:
        pixels = np.asarray(image.convert("RGB" if colour else "L"))
    return pixels if colour else pixels[..., None]


def read_mask(path: Path) -> np.ndarray:
    """(height, width) uint8, as stored: grey values or palette indices.

    Raises:
        SegframeError: it has colours or more than 8 bits.
    """
    import numpy as np

    with _opened(path) as mask:
        if mask.mode not in ("1", "L", "P"):
            raise _mode_error(path, "an 8-bit mask of class ids, grey or palette", mask.mode)
        return np.asarray(mask).astype(np.uint8)


def split_of(names: Sequence[str], fractions: Mapping[str, float], seed: int) -> dict[str, str]:
    """{sample: split}: seeded, the same on every machine, whatever the order of `names`.

    Raises:
        SegframeError: there are too few samples for the splits asked for.
    """
    order = sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    counts = {
        split: max(1, round(fraction * len(order))) if fraction else 0
        for split, fraction in fractions.items()
        if split != "train"
    }
    train = len(order) - sum(counts.values())
    if train < 1:
        raise SegframeError(
            "--split",
            expected="at least one sample in each split",
            got=f"{len(order)} samples in all",
            remedy="Give --split 1/0/0 to train on all of them, or more samples.",
        )
    splits = ["train"] * train + [split for split, count in counts.items() for _ in range(count)]
    return dict(zip(order, splits, strict=True))


def _by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        got = "a file" if folder.exists() else "nothing of that name"
        remedy = "Check the path; the order is IMAGES MASKS OUT.h5."
        raise SegframeError(f"folder {folder}", expected="a folder of PNG files", got=got, remedy=remedy)
    files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    pngs = [file for file in files if file.suffix.lower() == ".png"]
    if not pngs:
        kinds = sorted({file.suffix for file in files})
        raise SegframeError(
            f"folder {folder}",
            expected="PNG files",
            got=f"{len(files)} files of type {', '.join(kinds)}" if files else "no files",
            remedy="Convert them: magick mogrify -format png FOLDER/*",
        )
    if len(pngs) < len(files):
        log.info("%s: %d files that are no PNG are left out", folder, len(files) - len(pngs))
    stems: dict[str, Path] = {}
    for file in pngs:
        if file.stem in stems:
            got = f"{stems[file.stem].name} and {file.name}"
            raise SegframeError(
                f"folder {folder}", expected="one file per name", got=got, remedy="Rename one."
            )
        stems[file.stem] = file
    return stems


class _opened:
    """A Pillow image; what Pillow finds wrong, also while its pixels are read, becomes a SegframeError."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self):
        from PIL import Image

        try:
            self.image = Image.open(self.path)
        except Exception as error:
            self._refuse(error)
        return self.image

    def __exit__(self, kind, error, traceback) -> None:
        self.image.close()
        if error is not None and not isinstance(error, SegframeError | KeyboardInterrupt):
            self._refuse(error)

    def _refuse(self, error: BaseException) -> None:
        raise SegframeError(
            f"image file {self.path}",
            expected="a whole PNG file",
            got=str(error) or type(error).__name__,
            remedy="Write it again, or take it away together with its partner.",
        ) from error


def _mode_error(path: Path, expected: str, mode: str) -> SegframeError:
    deep = mode.startswith("I") or mode == "F"
    remedy = TO_8_BIT if deep else "Save it so; for masks the pixel value is the class id."
    return SegframeError(
        f"image file {path}", expected=expected, got=f"{'16 bits or more' if deep else 'colours'} ({mode})",
        remedy=remedy,
    )  # fmt: skip
