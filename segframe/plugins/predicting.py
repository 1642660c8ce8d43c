"""Images through a trained model: whole, in batches as the run did it, or by tiles where they are large."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from segframe.errors import SegframeError
from segframe.plugins.predict_files import Band
from segframe.plugins.predict_sources import Item, Rows
from segframe.plugins.turned_views import averaged
from segframe.sliding_window import bands

if TYPE_CHECKING:
    import numpy as np

    from segframe.trained_model import TrainedModel

log = logging.getLogger("segframe")

WHOLE_PIXELS = 2**20
"""Images of up to 1024 x 1024 pixels, or what the run itself has predicted, go through the network whole."""
TILE, OVERLAP = 512, 0.25
FULL_SCALE = {"uint8": 255.0, "uint16": 65535.0}


class Window(NamedTuple):
    """How large images are cut."""

    tile: tuple[int, int] | None
    """(height, width) in pixels; None: TILE where an image is too large to go whole."""
    overlap: float
    at_once: int | None = None
    """Tiles in a batch; None: as many as memory that the run itself has needed."""


def window_of(config: Mapping[str, Any], tile: int | None, overlap: float | None) -> Window:
    """What is asked for on the command line, and else what the run itself has done: tiles of its patches."""
    patch = config.get("patch") or {"size": None}
    at_once = None
    size = (tile, tile) if tile is not None else None
    if size is None and patch["size"] is not None:
        size, at_once = tuple(patch["size"]), int(config["train"]["batch_size"])
    return Window(size, patch.get("overlap", OVERLAP) if overlap is None else overlap, at_once)


class Predictor:
    """`batches` says what goes together; `predict` gives each item's bands.

    Args:
        largest: pixels of the largest image of the run's data.
        views: of turned_views.
    """

    def __init__(self, model: TrainedModel, *, largest: int, window: Window, views: str):
        from segframe.trained_model import size_multiple

        self.model, self.window = model, window
        self.logits = averaged(model, views)
        self.multiple = size_multiple(model.network)
        self.at_once = int(model.config["train"]["batch_size"])
        self.whole_pixels = max(WHOLE_PIXELS, largest)
        self.batch_pixels = max(WHOLE_PIXELS, self.at_once * largest)
        self._said: set[str] = set()

    def tile_of(self, item: Item) -> tuple[int, int] | None:
        """(height, width), multiples of what the network pools; None for an image that goes whole."""
        height, width = item.size
        tile = self.window.tile or (TILE, TILE)
        larger = height > tile[0] or width > tile[1]
        if larger if self.window.tile else height * width > self.whole_pixels:
            return -(-tile[0] // self.multiple) * self.multiple, -(-tile[1] // self.multiple) * self.multiple
        return None

    def batches(self, items: Sequence[Item]) -> Iterator[list[Item]]:
        """Neighbours of one size, as many as in a batch of the run; an image that is cut is by itself."""
        batch: list[Item] = []
        for item in items:
            pixels = item.size[0] * item.size[1]
            most = max(1, min(self.at_once, self.batch_pixels // pixels))
            if batch and (item.size != batch[0].size or len(batch) >= most or self.tile_of(item)):
                yield batch
                batch = []
            batch.append(item)
        if batch:
            yield batch

    def read(self, batch: Sequence[Item]) -> tuple[list[tuple[Item, Rows]], dict[str, str]]:
        """Opened items, whole where the format has no bands; and what could not be read, with why."""
        opened, failed = [], {}
        for item in batch:
            try:
                rows = self._prepared(item)
                if self.tile_of(item) is None:
                    image = rows(0, item.size[0])
                    rows = _of_array(image)
                opened.append((item, rows))
            except SegframeError as error:
                failed[item.where] = reason(error)
        return opened, failed

    def predict(self, opened: Sequence[tuple[Item, Rows]]) -> Iterator[tuple[Item, Iterator[Band]]]:
        """Each item with its bands: use them up before the next."""
        import numpy as np

        for item, rows in opened:
            tile = self.tile_of(item)
            if tile is not None:
                yield item, self._tiled(item, rows, tile)
        whole = [(item, rows) for item, rows in opened if self.tile_of(item) is None]
        if whole:
            images = np.stack([rows(0, item.size[0]) for item, rows in whole])
            for (item, _), image, logits in zip(whole, images, self.logits(images), strict=True):
                yield item, iter([Band(self._shown(image), logits)])

    def _tiled(self, item: Item, rows: Rows, tile: tuple[int, int]) -> Iterator[Band]:
        overlap = self.window.overlap
        at_once = self.window.at_once or max(1, self.batch_pixels // (tile[0] * tile[1]))
        size = f"{tile[0]} x {tile[1]}"
        self._say(
            f"images of more than {size if self.window.tile else f'{self.whole_pixels:,} pixels'}",
            f"go by tiles of {size} (overlap {overlap:g}, {at_once} at once), first {item.where}",
        )
        cut = bands(
            rows,
            item.size,
            self.logits,
            tile=tile,
            overlap=overlap,
            at_once=at_once,
            multiple=self.multiple,
        )
        for image, logits in cut:
            yield Band(self._shown(image), logits)

    def _prepared(self, item: Item) -> Rows:
        """Its rows with the channels and of the kind that the run's images had."""
        rows = item.open()
        return lambda start, stop: self._alike(rows(start, stop), item.where)

    def _alike(self, image: np.ndarray, where: str) -> np.ndarray:
        import numpy as np

        wanted, there = self.model.channels, image.shape[-1]
        if there == 1 and wanted == 3:
            self._say("grey images", "become RGB, as the run's are")
            image = np.repeat(image, 3, axis=-1)
        elif there == 3 and wanted == 1 and (image == image[..., :1]).all():
            self._say("RGB images with three times the same grey", "are read as grey")
            image = image[..., :1]
        elif there != wanted:
            raise _unlike(where, f"{wanted} channels, as the run's images", str(there))
        if self.model.normalisation.scale != 1.0:
            if image.dtype != np.uint8:
                raise _unlike(where, "8 bits, as the run's images", str(image.dtype))
            return image
        if str(image.dtype) in FULL_SCALE:
            full = FULL_SCALE[str(image.dtype)]
            self._say(f"images of {image.dtype}", f"are divided by {full:g}, as `data import` does")
            return (image / np.float64(full)).astype(np.float32)
        if image.dtype != np.float32:
            raise _unlike(where, "floats, 8 or 16 bits", str(image.dtype))
        if not np.isfinite(image).all():
            raise _unlike(where, "finite values", "NaN or infinite ones")
        return image

    def _shown(self, image: np.ndarray) -> np.ndarray:
        import numpy as np

        by = self.model.normalisation
        low, high = (0.0, 1.0) if by.scale != 1.0 else (by.low, by.high)
        scaled = (image.astype(np.float32) * np.float32(by.scale) - low) / max(high - low, 1e-12)
        return np.clip(scaled if scaled.shape[-1] == 3 else np.repeat(scaled[..., :1], 3, -1), 0, 1)

    def _say(self, what: str, line: str) -> None:
        if what not in self._said:
            self._said.add(what)
            log.info("%s %s", what, line)


def reason(error: SegframeError) -> str:
    return f"expected {error.expected}, got {error.got}"


def _of_array(image: np.ndarray) -> Callable[[int, int], np.ndarray]:
    return lambda start, stop: image[start:stop]


def _unlike(where: str, expected: str, got: str) -> SegframeError:
    return SegframeError(where, expected=expected, got=got, remedy="Convert it as the training images were.")
