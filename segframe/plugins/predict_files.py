"""The files that `predict` writes of one image, row by row: each whole or not there."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from segframe.atomic import replacing
from segframe.plugins.png_rows import GREY, INDEXED, RGB, PngRows, read_texts
from segframe.plugins.predict_drawing import laid_over, palette, probabilities_of
from segframe.plugins.predict_sources import Item

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("segframe")

TEXT = "segframe"
"""The text in a mask's PNG that says what it was made of."""
OVERLAYS, PROBABILITIES = "overlays", "probabilities"


class Wanted(NamedTuple):
    """What is written of each image."""

    masks: str
    """palette, grey or colours"""
    overlays: bool
    probabilities: bool


class Band(NamedTuple):
    """Rows of one image, from the top down."""

    shown: np.ndarray
    """(rows, width, 3) float32 in [0, 1]"""
    logits: np.ndarray
    """(rows, width, num_classes) float32"""


class Files:
    """The outputs of items in a folder: `write` makes them, `done` and `ids` look at them."""

    def __init__(self, folder: Path, class_names: Sequence[str], wanted: Wanted):
        self.folder, self.wanted = folder, wanted
        self.class_names = tuple(class_names)
        self.colours = palette(class_names)

    def mask(self, item: Item) -> Path:
        return self.folder / f"{item.name}.png"

    def paths(self, item: Item) -> list[Path]:
        """All files of an item, its mask first."""
        found = [self.mask(item)]
        if self.wanted.overlays:
            found.append(self.folder / OVERLAYS / f"{item.name}.png")
        if self.wanted.probabilities:
            found.append(self.folder / PROBABILITIES / f"{item.name}.npy")
        return found

    def done(self, item: Item) -> bool:
        """Whether all its outputs are there, of the image as it is now."""
        if not all(path.exists() for path in self.paths(item)):
            return False
        made_of = read_texts(self.mask(item)).get(TEXT)
        if made_of != item.stamp():
            log.info("%s was written anew since: it is predicted again", item.where)
            return False
        return True

    def write(self, item: Item, bands: Iterator[Band]) -> None:
        """All outputs of an item; the mask takes its place last."""
        import numpy as np

        stamp = item.stamp()
        paths = self.paths(item)
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            for left in path.parent.glob(f".*.{path.name}"):  # of a process that was killed
                left.unlink()
        kind = {"palette": INDEXED, "grey": GREY, "colours": RGB}[self.wanted.masks]
        table = np.array(self.colours, np.uint8)
        with ExitStack() as stack:
            new = [stack.enter_context(replacing(path)) for path in paths]
            shown = self.colours if kind == INDEXED else ()
            mask = stack.enter_context(PngRows(new[0], *item.size, kind, shown, {TEXT: stamp}))
            overlay = probabilities = None
            if self.wanted.overlays:
                overlay = stack.enter_context(PngRows(new[1], *item.size, RGB))
            row = 0
            for band in bands:
                ids = band.logits.argmax(-1).astype(np.uint8)
                mask.write(table[ids] if kind == RGB else ids)
                if overlay is not None:
                    overlay.write(laid_over(band.shown, ids, self.class_names))
                if self.wanted.probabilities:
                    if probabilities is None:
                        shape = (*item.size, band.logits.shape[-1])
                        probabilities = np.lib.format.open_memmap(new[-1], "w+", np.float16, shape)
                    probabilities[row : row + len(ids)] = probabilities_of(band.logits)
                row += len(ids)
            if probabilities is not None:
                probabilities.flush()

    def ids(self, item: Item) -> np.ndarray:
        """(height, width) uint8 class ids as they were written."""
        import numpy as np
        from PIL import Image

        Image.MAX_IMAGE_PIXELS = None  # our own file
        with Image.open(self.mask(item)) as image:
            values = np.asarray(image)
        if values.ndim == 2:
            return values
        ids = np.zeros(values.shape[:2], np.uint8)
        for class_id, colour in enumerate(self.colours):
            ids[(values == colour).all(-1)] = class_id
        return ids
