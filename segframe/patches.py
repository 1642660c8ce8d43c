"""Which patch of a training sample is trained on: anywhere, or with foreground in it; the same for a seed.

Anywhere: the patch's first row is uniform over the rows where it fits and a quarter of its height beyond each
end, moved back inside; columns likewise. Without the quarter the image's outermost pixels would be in one of
hundreds of patches. With foreground: one of the foreground classes that the image has, each as likely, then
one of its pixels, then any place of the patch that holds the pixel and fits (Isensee et al., nnU-Net, Nature
Methods 18, 2021, which puts the pixel into the middle: there the network would learn where to expect it).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from segframe.dataset import Windows

if TYPE_CHECKING:
    import numpy as np

    from segframe.split import Part

log = logging.getLogger("segframe")

Window = tuple[slice, slice]

BAND = 512
"""Rows that are read at a time to find the foreground of an image that is not read whole."""

KEPT_PIXELS = 1000
"""Pixels of a class that are remembered of an image, 4 bytes each: more differ by less than a patch does."""


class Cut(IntEnum):
    """What is taken of a sample."""

    WHOLE = -1
    ANYWHERE = 0
    FOREGROUND = 1


class Patches:
    """The patches of the training part of a run.

    Args:
        size: (height, width) in pixels. Of an image that is smaller along an axis, all of that axis.
        per_image: patches of an image in one pass over the training part.
        foreground_share: of the patches, 0 to 1: at least so many have foreground, as far as their images do.
        overlap: of tiles, where whole images are predicted: the share that the next one covers.
        classes: ids that count as foreground (segframe.dataset.foreground).
    """

    def __init__(
        self,
        *,
        size: Sequence[int],
        per_image: int,
        foreground_share: float,
        overlap: float,
        classes: Sequence[int],
    ):
        self.size = size[0], size[1]
        self.per_image, self.foreground_share, self.overlap = per_image, foreground_share, overlap
        self.classes = tuple(classes)
        self._pixels: dict[int, dict[int, np.ndarray]] = {}

    @classmethod
    def of(cls, section: Mapping[str, Any], classes: Sequence[int]) -> Patches | None:
        """From the config's section `patch`; None without a size."""
        return cls(**section, classes=classes) if section["size"] is not None else None

    def facts(self, maps: Sequence[str], image_size: tuple[int, int], multiple: int) -> dict[str, Any]:
        """For the run's record; says what wastes work.

        Args:
            maps: names of the stored maps that the loss asks for.
            image_size: height and width of the largest image.
            multiple: what the network's height and width are multiples of.
        """
        padded = [-(-side // multiple) * multiple for side in self.size]
        if padded != list(self.size):
            told = "patch.size=%s is padded to %s in each step: give multiples of %d, as the network pools."
            log.warning(told, list(self.size), padded, multiple)
        if all(length <= side for length, side in zip(image_size, self.size, strict=True)):
            log.warning("No image is larger than patch.size=%s: all go whole, with padding.", list(self.size))
        stored = f"cut from the maps of whole images ({', '.join(maps)})"
        return {
            "size": list(self.size),
            "padded_to": padded,
            "maps": stored if maps else "none stored: a loss that makes its own sees the patch only",
        }

    def cuts(self, first: int, count: int) -> np.ndarray:
        """(count,) int32 of Cut: what the `first` and following patches of the run are.

        Those with foreground are spread evenly, so that any n patches in a row have n * foreground_share of
        them, rounded up or down.
        """
        import numpy as np

        whole = np.floor(np.arange(first, first + count + 1) * self.foreground_share)
        return np.where(np.diff(whole) > 0, Cut.FOREGROUND, Cut.ANYWHERE).astype(np.int32)

    def window(
        self,
        position: int,
        image_size: tuple[int, int],
        mask: Callable[[], np.ndarray],
        cut: Cut,
        seed: Sequence[int],
    ) -> Window:
        """Rows and columns of a patch.

        Args:
            position: of the sample in the training part.
            image_size: height and width.
            mask: gives (height, width) uint8, the whole of it; asked once for a patch with foreground.
            cut: ANYWHERE or FOREGROUND; the latter is ANYWHERE in an image without.
            seed: two numbers, at least 0: all that the patch depends on beside the mask.
        """
        import numpy as np

        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([*map(int, seed), 2])))
        pixels = self._foreground(position, mask) if cut == Cut.FOREGROUND else {}
        held: Sequence[int | None] = (None, None)
        if pixels:
            of_class = pixels[list(pixels)[rng.integers(len(pixels))]]
            held = divmod(int(of_class[rng.integers(len(of_class))]), image_size[1])
        rows, columns = (
            _place(rng, length, size, pixel)
            for length, size, pixel in zip(image_size, self.size, held, strict=True)
        )
        return rows, columns

    def take(
        self,
        dataset: Any,
        split: str,
        index: int,
        makers: Sequence[Any],
        position: int,
        cut: Cut,
        seed: Sequence[int],
    ) -> tuple[np.ndarray, ...]:
        """Image, mask and maps of a patch, the maps cut from those of the whole image.

        Without maps no more is read than that, where the data set can (segframe.dataset.Windows).

        Args:
            makers: of the maps (segframe_maps).
            position, cut, seed: as for `window`.
        """
        import numpy as np

        size = dataset.windowed(split, index) if not makers and isinstance(dataset, Windows) else None
        if size is None:
            sample = dataset.read(split, [index])[0]
            at = self.window(position, sample.mask.shape, lambda: sample.mask, cut, seed)
            whole = sample.image, sample.mask, *(maker.make(sample.mask) for maker in makers)
            return tuple(np.ascontiguousarray(values[at]) for values in whole)

        def mask() -> np.ndarray:
            bands = (np.s_[top : min(top + BAND, size[0]), 0 : size[1]] for top in range(0, size[0], BAND))
            return np.concatenate([dataset.read_window(split, index, band).mask for band in bands])

        return tuple(dataset.read_window(split, index, self.window(position, size, mask, cut, seed)))

    @staticmethod
    def of_whole(dataset: Any, part: Part, maps: Collection[str]) -> bool:
        """Whether `take` reads whole samples, judging by the part's first one."""
        if maps or not isinstance(dataset, Windows):
            return True
        return dataset.windowed(part.split, part.indices[0]) is None

    def _foreground(self, position: int, mask: Callable[[], np.ndarray]) -> dict[int, np.ndarray]:
        """{class: flat indices of some of its pixels}, of the foreground classes that the image has."""
        if position not in self._pixels:
            self._pixels[position] = _some_pixels(mask(), self.classes)
        return self._pixels[position]


def _some_pixels(mask: np.ndarray, classes: Sequence[int]) -> dict[int, np.ndarray]:
    import numpy as np

    found = {}
    for class_id in classes:
        pixels = np.flatnonzero(mask == class_id)
        if len(pixels) > KEPT_PIXELS:
            # The same whenever the image is met first: a resumed run remembers nothing.
            pixels = pixels[
                np.random.Generator(np.random.Philox(class_id)).integers(len(pixels), size=KEPT_PIXELS)
            ]
        if len(pixels):
            found[class_id] = pixels.astype(np.uint32)  # a sample has at most 2 GiB
    return found


def _place(rng: np.random.Generator, length: int, size: int, pixel: int | None) -> slice:
    """Where `size` of `length` pixels are taken, with this pixel among them."""
    free = max(length - size, 0)
    if pixel is not None:
        start = int(rng.integers(max(0, pixel - size + 1), min(pixel, free) + 1))
    else:
        beyond = size // 4
        start = min(max(int(rng.integers(-beyond, free + beyond + 1)), 0), free)
    return slice(start, min(start + size, length))
