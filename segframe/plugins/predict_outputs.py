"""The folder that `predict` writes to: each file whole or not there, each mask saying what it was made of.

OUT/
  NAME.png                  class ids: palette indices, grey values or colours
  overlays/NAME.png         the image with its classes laid over it
  probabilities/NAME.npy    (height, width, num_classes) float16
  predict.json              run, hash of the weights, options, class names; failed images
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from segframe.atomic import replacing, write_json
from segframe.errors import SegframeError
from segframe.plugins.png_rows import GREY, INDEXED, RGB, PngRows, read_texts
from segframe.plugins.predict_drawing import laid_over, palette, probabilities_of
from segframe.plugins.predict_sources import Item

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("segframe")

MANIFEST, TEXT = "predict.json", "segframe"
OWN_FOLDERS = ("overlays", "probabilities")


class Wanted(NamedTuple):
    """What is written of each image."""

    masks: str
    """palette, grey or colours"""
    overlays: bool
    probabilities: bool


class Band(NamedTuple):
    """Rows of one image, from the top down."""

    shown: np.ndarray
    """(rows, width, channels) float32 in [0, 1]"""
    logits: np.ndarray
    """(rows, width, num_classes) float32"""


class Outputs:
    """`check`; then, within `lock`, `prepare`, and for each item `done` or `write`.

    Args:
        facts: what every output depends on, for JSON: the weights' hash, the options, ...
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any], class_names: Sequence[str], wanted: Wanted):
        self.folder, self.facts, self.wanted = folder, dict(facts), wanted
        self.class_names = tuple(class_names)
        self.colours = palette(class_names)

    def check(self, items: Sequence[Item], force: bool) -> None:
        """Whether the folder is new, or the same command has begun it; before anything is changed.

        Raises:
            SegframeError: it has outputs of another run or other options, or files that nothing explains.
        """
        for item in items:
            if item.name.startswith(tuple(f"{own}/" for own in OWN_FOLDERS)):
                remedy = "Rename that folder, or give the images below it by a glob."
                expected = f"no folder {' or '.join(OWN_FOLDERS)} in it"
                raise SegframeError(item.where, expected=expected, got=item.name, remedy=remedy)
        if self.folder.exists() and not self.folder.is_dir():
            remedy = "Name a folder, or a file that ends in .h5."
            raise SegframeError(f"OUT {self.folder}", expected="a folder", got="a file", remedy=remedy)
        before = _json(self.folder / MANIFEST)
        if force or (before or {}).get("facts") == self.facts:
            return
        there = [path for item in items for path in self.paths(item) if path.exists()]
        if there or before is not None:
            got = f"{there[0].name} of something else" if before is None else _difference(before, self.facts)
            raise SegframeError(
                f"folder {self.folder}",
                expected="a new folder, or one that the same command has begun",
                got=got,
                remedy="Name another OUT, or write these anew with --force.",
            )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Make the folder and hold it; raises SegframeError: another process does."""
        from filelock import FileLock, Timeout

        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.folder / ".lock").acquire(timeout=0):
                yield
        except Timeout:
            expected, remedy = "a folder that nobody is writing to", "Wait for it, or name another OUT."
            raise SegframeError(
                f"folder {self.folder}", expected=expected, got="one that is in use", remedy=remedy
            ) from None

    def prepare(self, items: Sequence[Item], force: bool) -> None:
        """Begin predict.json, or go on; with force all outputs of the items are taken away before."""
        if force:
            (self.folder / MANIFEST).unlink(missing_ok=True)
            for path in (path for item in items for path in self.paths(item)):
                path.unlink(missing_ok=True)
        self.tell(failed={})

    def tell(self, failed: Mapping[str, str]) -> None:
        """Write predict.json."""
        write_json(self.folder / MANIFEST, {"facts": self.facts, "failed": dict(failed)})

    def mask(self, item: Item) -> Path:
        return self.folder / f"{item.name}.png"

    def paths(self, item: Item) -> list[Path]:
        """All files of an item, its mask first."""
        found = [self.mask(item)]
        if self.wanted.overlays:
            found.append(self.folder / "overlays" / f"{item.name}.png")
        if self.wanted.probabilities:
            found.append(self.folder / "probabilities" / f"{item.name}.npy")
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


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        return {}


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What the outputs that are there were made with, as far as it differs."""
    old = before.get("facts") or {}
    differing = [f"{key} {old[key]}" for key in now if key in old and old[key] != now[key]]
    return f"outputs of {', '.join(differing) or 'something else'}"
