"""Image files -> arrays of one kind -> one HDF5 file, decoded in parallel and never all in memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from segframe.errors import SegframeError
from segframe.plugins.image_files import read_image
from segframe.plugins.import_survey import Source, Survey
from segframe.plugins.mask_kinds import Coding, read_coded

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("segframe")


MANY = 20
"""Ids above which a mask may rather number its objects: then it is asked."""


class Kind(NamedTuple):
    """What all images of the file become."""

    colour: bool
    divisors: Mapping[str, float]
    """{dtype of a file: what its values are divided by, into float32}; empty where all stay uint8."""


def kind_of(seen: Survey, bits: int | None, propose: Callable[[str], str]) -> Kind:
    """uint8 where all images have 8 bits, otherwise float32, and a line that says so.

    Args:
        bits: of a full scale, for images of more than 8 bits; 16 where it is None.

    Raises:
        SegframeError: 32-bit integers without `bits`, or a mixture of integers and floats.
    """
    if set(seen.dtypes) == {"uint8"}:
        if bits is not None:
            remedy = "Leave --bits away: they stay as they are."
            raise SegframeError("--bits", expected="images of more than 8 bits", got="8 bits", remedy=remedy)
        return Kind(seen.colour, {})
    if "float32" in seen.dtypes:
        if len(seen.dtypes) > 1:
            other = next(name for dtype, name in seen.dtypes.items() if dtype != "float32")
            got = f"{seen.dtypes['float32']!r} float, {other!r} not"
            remedy = "Save them alike: what a float image's white is, nobody says."
            raise SegframeError("images", expected="all floats or none", got=got, remedy=remedy)
        log.info("images of 32-bit floats: they stay so")
        return Kind(seen.colour, {"float32": 1.0})
    if "int32" in seen.dtypes and bits is None:
        raise SegframeError(
            f"image of {seen.dtypes['int32']!r}",
            expected="8 or 16 bits, or --bits for the full scale",
            got="32-bit integers",
            remedy=propose("--bits 16"),
        )
    full = float(2 ** (bits or 16) - 1)
    log.info("images of more than 8 bits: they become float32 in 0..1, divided by %g (--bits)", full)
    if "uint8" in seen.dtypes:
        log.info("8-bit images among them (%s): divided by 255", seen.dtypes["uint8"])
    return Kind(seen.colour, {"uint8": 255.0, "uint16": full, "int32": full})


def read_sample(source: Source, kind: Kind, coding: Coding) -> tuple[np.ndarray, np.ndarray]:
    """(height, width, channels) uint8 or float32, and (height, width) uint8.

    Raises:
        SegframeError: a file cannot be read, or has values beyond --bits.
    """
    import numpy as np

    image = read_image(source.image)
    if kind.colour and image.shape[2] == 1:
        image = np.repeat(image, 3, axis=2)
    if kind.divisors:
        scaled = (image / np.float64(kind.divisors[str(image.dtype)])).astype(np.float32)
        if image.dtype.kind != "f" and (scaled.min() < 0 or scaled.max() > 1):
            raise SegframeError(
                f"image file {source.image}",
                expected=f"values of 0 to {kind.divisors[str(image.dtype)]:g}",
                got=f"{image.min()} to {image.max()}",
                remedy=f"Give --bits {int(image.max()).bit_length()}, or one that fits all images.",
            )
        if not np.isfinite(scaled).all():
            remedy = "Replace them; mark such pixels as void in the mask."
            got = f"{int((~np.isfinite(scaled)).sum())} that are not"
            raise SegframeError(
                f"image file {source.image}", expected="finite values", got=got, remedy=remedy
            )
        image = scaled
    mask = read_coded(source.masks, coding).ids.astype(np.uint8)
    if image.shape[:2] != mask.shape:
        raise SegframeError(
            f"sample {source.name!r}",
            expected="the size that its header said",
            got=f"image {image.shape[:2]}, mask {mask.shape}: changed meanwhile, or EXIF behind the pixels",
            remedy="Write the image again, upright.",
        )
    return image, mask


def check_ids(
    seen: Survey, names: list[str] | None, ignore: int | None, masks: str, propose: Callable[[str], str]
) -> list[str]:
    """The class names: those given, or made up where the ids have no gap.

    Raises:
        SegframeError: ids that are no class; the remedy proposes and decides nothing.
    """
    from segframe.plugins.hdf5_facts import default_names

    ids = sorted(value for value in seen.first_with if value != ignore)
    found = ", ".join(map(str, ids[:10])) + ", ..." * (len(ids) > 10)
    if ids in ([], [0]):
        got = "background only" if ids else "void pixels only"
        remedy = f"Check that {masks} is the folder of the masks."
        raise SegframeError("masks", expected="pixels of a class", got=got, remedy=remedy)
    if names:
        outside = [value for value in ids if not 0 <= value < len(names)]
    else:
        lowest = ids[0] == 0  # 1, 2, ... without a 0 has no gap either
        gapless = {value: place + (not lowest) for place, value in enumerate(ids)}
        outside = [value for value, place in gapless.items() if value != place or value > 254]
    if not outside:
        made_up = names or default_names(max(ids) + 1)
        if not names:
            log.info("no --class-names: the classes are called %s", ", ".join(made_up))
        if not names and len(ids) > MANY:
            log.warning(
                "%d ids: if each is one object and no class: %s", len(ids), propose("--instances NAME")
            )
        return made_up
    raise SegframeError(
        f"masks (sample {seen.first_with[outside[0]]!r})",
        expected=f"ids below {len(names)}" if names else "class ids 0, 1, 2, ... without a gap",
        got=f"ids {found}",
        remedy=_proposal(ids, outside, names, propose),
    )


def _proposal(
    ids: list[int], outside: list[int], names: list[str] | None, propose: Callable[[str], str]
) -> str:
    if len(ids) > 2 and all(value < 16 or 240 <= value <= 255 for value in ids) and ids[-1] >= 240:
        return f"As of black and white, saved as JPEG or scaled: {propose('--threshold 128')}"
    if len(ids) > 32:
        return (
            f"So many ids are not classes. Each one object: {propose('--instances NAME')}\n"
            f"  Grey values of a mask that was scaled or saved as JPEG: {propose('--threshold 128')}"
        )
    free: Iterable[int] = (value for value in range(1, 256) if value not in ids)
    fits = [value for value in free if not names or value < len(names)]
    targets = [str(new) for new in fits[: len(outside)]] + ["ID"] * max(0, len(outside) - len(fits))
    maps = " ".join(f"--map {old}={new}" for old, new in zip(outside[:4], targets, strict=False))
    remedy = propose(maps) + " ..." * (len(outside) > 4)
    if not names and ids != [0, 255]:
        remedy += "\n  or name every class, in the order of the ids: --class-names background,..."
    return remedy
