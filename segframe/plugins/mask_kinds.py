"""What the pixels of a mask file mean: class ids, colours of a table, instances, two sides of a threshold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from segframe.errors import SegframeError
from segframe.plugins.data_words import csv_lines
from segframe.plugins.image_files import Page, read_mask

if TYPE_CHECKING:
    import numpy as np

MOST_COLOURS = 4096
"""A mask that was scaled or saved as JPEG has more than anybody wants to see."""


class Coding(NamedTuple):
    """How masks are to be read; nothing of it is guessed."""

    table: Mapping[int, int] = {}
    """{value in the masks: class id}; the others stay as they are."""
    colours: Mapping[str, tuple[int, int, int]] = {}
    """{class name: (red, green, blue)}, in the order of the ids."""
    instances: bool = False
    """Every value but 0 is an object of class 1."""
    threshold: int | None = None
    """Grey values from here on are class 1, those below class 0."""


class Mask(NamedTuple):
    """A mask as read."""

    ids: np.ndarray
    """(height, width) integers; -1 where the table has no such colour."""
    colours: Counter[int]
    """Pixels of each colour that the table does not have: {red << 16 | green << 8 | blue: count}."""


def read_coded(pages: Sequence[Page], coding: Coding) -> Mask:
    """The mask that lies in one file or in several.

    Raises:
        SegframeError: a file cannot be read, sizes differ, or files of one sample contradict each other.
    """
    import numpy as np

    whole: Mask | None = None
    for page in pages:
        found = _coded(read_mask(page, bool(coding.colours)), coding)
        if whole is None:
            whole = found
            continue
        if whole.ids.shape != found.ids.shape:
            got = f"{whole.ids.shape} and {found.ids.shape}"
            raise _contradiction(page, "mask files of one sample in one size", got)
        both = (whole.ids != 0) & (found.ids != 0) & (whole.ids != found.ids)
        if both.any():
            row, column = np.argwhere(both)[0]
            got = f"{whole.ids[row, column]} and {found.ids[row, column]} at row {row}, column {column}"
            raise _contradiction(page, "one class for each pixel in all mask files of a sample", got)
        whole = Mask(np.where(found.ids != 0, found.ids, whole.ids), whole.colours + found.colours)
    assert whole is not None
    return whole


def read_colours(words: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """The table of `--colours`: words NAME=RED,GREEN,BLUE, or one CSV file of lines name,red,green,blue.

    Raises:
        SegframeError: it is neither, or a name or colour stands twice.
    """
    if len(words) == 1 and "=" not in words[0]:
        words = [f"{line[0]}={','.join(line[1:4])}" for line in _lines(Path(words[0]))]
    table: dict[str, tuple[int, int, int]] = {}
    for word in words:
        name, _, text = word.partition("=")
        parts = [part.strip() for part in text.split(",")]
        right = name.strip() and len(parts) == 3 and all(part.isdigit() and int(part) < 256 for part in parts)
        if not right:
            remedy = "As in --colours background=0,0,0 car=255,0,0"
            raise SegframeError(
                "--colours", expected="NAME=RED,GREEN,BLUE of 0 to 255", got=repr(word), remedy=remedy
            )
        red, green, blue = map(int, parts)
        if name.strip() in table or (red, green, blue) in table.values():
            raise SegframeError(
                "--colours", expected="each name and colour once", got=repr(word), remedy="Drop one."
            )
        table[name.strip()] = red, green, blue
    if not 2 <= len(table) <= 255:
        remedy = "Name the background's colour, too."
        raise SegframeError("--colours", expected="2 to 255 classes", got=str(len(table)), remedy=remedy)
    return table


def _lines(path: Path) -> list[list[str]]:
    remedy = "Lines are name,red,green,blue; or give words: --colours background=0,0,0 car=255,0,0"
    lines = [line for line in csv_lines(path, "--colours", remedy) if not line[0].startswith("#")]
    if lines and len(lines[0]) >= 4 and not lines[0][1].strip().isdigit():
        lines = lines[1:]  # a heading
    return lines


def _coded(values: np.ndarray, coding: Coding) -> Mask:
    import numpy as np

    none: Counter[int] = Counter()
    if coding.instances:
        objects = values.any(axis=-1) if values.ndim == 3 else values != 0
        return Mask(np.asarray(objects, np.uint8), none)
    if values.ndim == 3:
        return _by_colour(values, coding.colours)
    if coding.threshold is not None:
        return Mask((values >= coding.threshold).astype(np.uint8), none)
    return Mask(_mapped(values, coding.table), none)


def _mapped(values: np.ndarray, table: Mapping[int, int]) -> np.ndarray:
    import numpy as np

    if not table:
        return values
    if values.dtype == np.uint8:
        new = np.arange(256, dtype=np.uint8)
        for old, target in table.items():
            if 0 <= old <= 255:  # such masks have no other values
                new[old] = target
        return new[values]
    mapped = values.astype(np.int32)
    for old, target in table.items():
        mapped[values == old] = target
    return mapped


def _by_colour(values: np.ndarray, colours: Mapping[str, tuple[int, int, int]]) -> Mask:
    import numpy as np

    codes = values.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    ids = np.full(codes.shape, -1, np.int16)
    for class_id, (red, green, blue) in enumerate(colours.values()):
        ids[codes == red << 16 | green << 8 | blue] = class_id
    unlisted = codes[ids < 0]
    met, counts = np.unique(unlisted, return_counts=True)
    most = np.argsort(-counts, kind="stable")[:MOST_COLOURS]
    return Mask(ids, Counter(dict(zip(met[most].tolist(), counts[most].tolist(), strict=True))))


def colours_fault(
    unlisted: Counter[int], sample: str, coding: Coding, propose: Callable[[str], str]
) -> SegframeError:
    """Colours that are not in the table, with their counts, and the table that would have them."""
    shown = [f"{_text(code)} ({count} pixels)" for code, count in unlisted.most_common(12)]
    more = f" and {len(unlisted) - 12} more" if len(unlisted) > 12 else ""
    if len(unlisted) + len(coding.colours) > 64:
        remedy = (
            "So many colours are not classes. Objects, each in a colour of its own: "
            f"{propose('--instances NAME')}\n  Masks that were scaled or saved as JPEG: make them again."
        )
    else:
        words = [f"{name}={','.join(map(str, colour))}" for name, colour in coding.colours.items()]
        first = [0] if not words and 0 in unlisted else []  # black is most often the background
        order = first + [code for code, _ in unlisted.most_common() if code not in first]
        names = (f"class{index}" if index else "background" for index in range(len(words), 256))
        words += [f"{name}={_text(code)}" for name, code in zip(names, order, strict=False)]
        remedy = f"Give each its class, names as you like: {propose('--colours ' + ' '.join(words))}"
    return SegframeError(
        f"masks (sample {sample!r})",
        expected="colours of the table" if coding.colours else "class ids as grey values or palette indices",
        got=f"colours {'; '.join(shown)}{more}",
        remedy=remedy,
    )


def _text(code: int) -> str:
    return f"{code >> 16},{code >> 8 & 255},{code & 255}"


def _contradiction(page: Page, expected: str, got: str) -> SegframeError:
    remedy = "Mend the files; where each is one object of the same class: --instances NAME"
    return SegframeError(f"mask file {page}", expected=expected, got=got, remedy=remedy)
