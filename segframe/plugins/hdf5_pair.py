"""Images and masks that belong together, checked by their shapes and types alone."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, NamedTuple

from segframe.errors import SegframeError
from segframe.plugins.hdf5_file import Fault, layout_error


class Images(NamedTuple):
    """What the images of a split, or one of them, are."""

    where: str
    shape: tuple[int, int, int]
    """(height, width, channels)"""
    dtype: str


def check_pair(image: Any, mask: Any, batch: int, where: str, path: Path, fault: Fault) -> Images:
    """`batch` is 1 where there is a first axis of samples.

    Raises:
        SegframeError: the shapes are such that nothing can be read.
    """
    first = "samples, " * batch
    for array, kind, axes in ((image, "image", "height, width, channels"), (mask, "mask", "height, width")):
        dims = (2, 3) if hasattr(array, "shape") else ()
        squeezable = kind == "image" or not dims or array.ndim == 2 + batch or array.shape[-1] == 1
        if not dims or array.ndim - batch not in dims or 0 in array.shape or not squeezable:
            raise layout_error(
                f"{where}, {kind}", f"({first}{axes})", str(getattr(array, "shape", "a group"))
            )
    out = shlex.quote(str(path.with_name(path.stem + "-converted" + path.suffix)))
    command = f"python -m segframe data remap {shlex.quote(str(path))} {out}"
    if image.dtype.newbyteorder("=") not in ("uint8", "float32"):
        convertible = image.dtype.kind in "uifb"
        remedy = f"{command} --images float32" if convertible else "Write the file again with one of these."
        fault(
            SegframeError(f"{where}, image", expected="uint8 or float32", got=str(image.dtype), remedy=remedy)
        )
    if mask.dtype != "uint8" and mask.dtype.kind != "b":
        remedy = command if mask.dtype.kind in "ui" else "Write class ids as uint8."
        fault(SegframeError(f"{where}, mask", expected="uint8 class ids", got=str(mask.dtype), remedy=remedy))
    if image.shape[batch : batch + 2] != mask.shape[batch : batch + 2]:
        sizes = [" x ".join(map(str, array.shape[batch : batch + 2])) for array in (image, mask)]
        fault(layout_error(where, "images and masks of one size", f"image {sizes[0]}, mask {sizes[1]}"))
    height, width = image.shape[batch : batch + 2]
    shape = height, width, image.shape[batch + 2] if image.ndim == batch + 3 else 1
    return Images(where, shape, str(image.dtype.newbyteorder("=")))
