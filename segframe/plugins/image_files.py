"""Image files as arrays: every page, bit depth and orientation as meant, and a line about what is changed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from segframe.errors import SegframeError
from segframe.plugins.hdf5_storage import SAMPLE_LIMIT

if TYPE_CHECKING:
    import numpy as np

ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif")

ORIENTATION = 0x0112  # the EXIF tag
GREY_16 = ("I;16", "I;16B", "I;16L", "I;16N")
TRANSPARENT = {"RGBA": "RGB", "LA": "L", "PA": "P"}


class Page(NamedTuple):
    """One picture of a file: of most files the only one."""

    path: Path
    number: int = 0

    def __str__(self) -> str:
        return f"{self.path}, page {self.number}" if self.number else str(self.path)


class Header(NamedTuple):
    """What a page is, its pixels not read."""

    size: tuple[int, int]
    """(height, width), after the turn that EXIF asks for."""
    colour: bool
    dtype: str
    """uint8, uint16, int32 or float32"""
    notes: frozenset[str]
    """What reading changes: the user is told of each once."""


def pages(path: Path) -> int:
    """How many pictures the file has."""
    with _opened(Page(path)) as image:
        return int(getattr(image, "n_frames", 1))


def read_header(page: Page) -> Header:
    """Raises SegframeError: the file cannot be read, is too large, or of a type that would lose bits."""
    with _opened(page) as image:
        notes, mode = set(), image.mode
        if mode in TRANSPARENT or "transparency" in image.info:
            notes.add("transparency: it is dropped")
        mode = TRANSPARENT.get(mode, mode)
        if mode == "P":
            notes.add("a palette: they become RGB")
        if mode not in ("1", "L", "P", "RGB", "I", "F", *GREY_16):
            notes.add(f"{mode} colours: they become RGB")
        deep = _deep(image, page)
        dtype = "uint16" if deep or mode in GREY_16 else {"I": "int32", "F": "float32"}.get(mode, "uint8")
        colour = deep == "RGB" if deep else mode not in ("1", "L", "I", "F", *GREY_16)
        size = image.size[::-1]
        # Pillow decodes a whole PNG to find no EXIF in it; one behind the pixels is met by read_image.
        if (image.format != "PNG" or "exif" in image.info) and image.getexif().get(ORIENTATION, 1) != 1:
            notes.add("an EXIF orientation: they are turned as it says")
            size = _turned(image).size[::-1]
    return Header(size, colour, dtype, frozenset(notes))


def read_image(page: Page) -> np.ndarray:
    """(height, width, 1 or 3) uint8, uint16, int32 or float32, turned upright, without alpha."""
    import numpy as np

    with _opened(page) as image:
        if _deep(image, page):
            return _read_deep_png(page, image.getexif().get(ORIENTATION, 1))
        mode = TRANSPARENT.get(image.mode, image.mode)
        image = _turned(image)
        if mode in ("1", "L"):
            return np.asarray(image.convert("L"))[..., None]
        if mode in ("I", "F", *GREY_16):
            values = np.asarray(image)
            return values.astype(values.dtype.newbyteorder("="))[..., None]
        return np.asarray(image.convert("RGB"))


def read_mask(page: Page, as_colours: bool) -> np.ndarray:
    """(height, width) integers, grey values or palette indices; of colours (height, width, 3) uint8.

    Args:
        as_colours: whether grey values and palettes become colours, too.
    """
    import numpy as np

    with _opened(page) as image:
        if image.mode == "F" or _deep(image, page):
            remedy = "Save the mask with class ids as grey values, or with 8-bit colours."
            got = "float" if image.mode == "F" else "16-bit colours"
            raise SegframeError(
                f"mask file {page}", expected="integers or 8-bit colours", got=got, remedy=remedy
            )
        mode = TRANSPARENT.get(image.mode, image.mode)
        image = _turned(image)
        if as_colours or mode not in ("1", "L", "P", "I", *GREY_16):
            return np.asarray(image.convert("RGB"))
        if image.mode in ("LA", "PA"):  # the first of its two bands, as stored
            return np.asarray(image)[..., 0]
        values = np.asarray(image)
        return values.astype(np.uint8 if values.dtype == bool else values.dtype.newbyteorder("="))


@contextmanager
def _opened(page: Page) -> Iterator[Any]:
    """A Pillow image; what Pillow finds wrong, also while its pixels are read, becomes a SegframeError."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # SAMPLE_LIMIT is our limit, an error in place of a warning
    try:
        with Image.open(page.path) as image:
            if page.number:
                image.seek(page.number)
            width, height = image.size
            if width * height > SAMPLE_LIMIT:
                raise ValueError(f"{height} x {width} pixels, more than {SAMPLE_LIMIT}: cut it into tiles")
            yield image
    except (SegframeError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise SegframeError(
            f"image file {page}",
            expected="a whole image file",
            got=str(error) or type(error).__name__,
            remedy="Write it again, or take it away together with its partner.",
        ) from error


def _turned(image: Any) -> Any:
    from PIL import ImageOps

    image.load()
    return ImageOps.exif_transpose(image)


def _deep(image: Any, page: Page) -> str:
    """ "RGB" or "L" for a PNG of 16 bits whose lower half Pillow would drop without a word; else "".

    Raises:
        SegframeError: a TIFF of that kind, which nothing here can read.
    """
    if image.format == "PNG" and image.mode not in GREY_16:
        with open(page.path, "rb") as file:
            depth, colours = file.read(26)[24:26]
        return ("RGB" if colours & 2 else "L") if depth == 16 else ""
    if image.format == "TIFF" and image.mode in ("RGB", "RGBA", "RGBX", "LA", "CMYK"):
        if max(image.tag_v2.get(258, (8,))) > 8:
            path, target = (shlex.quote(str(file)) for file in (page.path, page.path.with_suffix(".png")))
            raise SegframeError(
                f"image file {page}",
                expected="8 bits a channel where a TIFF has several",
                got=f"{max(image.tag_v2[258])}",
                remedy=f"PNG keeps them: magick {path} PNG48:{target} && rm {path}",
            )
    return ""


def _read_deep_png(page: Page, orientation: int) -> np.ndarray:
    """(height, width, 1 or 3) uint16, by TensorFlow's decoder: Pillow has none."""
    import numpy as np

    from segframe.quiet import import_tensorflow

    import_tensorflow()
    import tensorflow as tf

    values = tf.io.decode_png(tf.io.read_file(str(page.path)), dtype=tf.uint16).numpy()
    values = values[..., : 3 if values.shape[-1] > 2 else 1]
    across = values.swapaxes(0, 1)
    upright = {
        2: values[:, ::-1],
        3: values[::-1, ::-1],
        4: values[::-1],
        5: across,
        6: across[:, ::-1],
        7: across[::-1, ::-1],
        8: across[::-1],
    }
    return np.ascontiguousarray(upright.get(orientation, values))
