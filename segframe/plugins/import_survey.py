"""A first look at all that is to be imported: what the images are, and what their masks hold."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from segframe.errors import SegframeError
from segframe.plugins.image_files import Header, Page, pages, read_header
from segframe.plugins.image_pairs import Pair
from segframe.plugins.mask_kinds import Coding, read_coded

log = logging.getLogger("segframe")

Item = TypeVar("Item")
Result = TypeVar("Result")


class Source(NamedTuple):
    """Where the pixels of one sample come from."""

    name: str
    split: str | None
    stack: str | None
    """The file that it is one of several pages of."""
    image: Page
    masks: tuple[Page, ...]


class Look(NamedTuple):
    """What one sample holds."""

    header: Header
    ids: tuple[int, ...]
    """The values of its mask, as coded; not those of unlisted colours."""
    unlisted: Counter[int]


class Survey(NamedTuple):
    """What all of them hold."""

    sizes: set[tuple[int, int]]
    """(height, width) of all images."""
    colour: bool
    """Whether any image has colours: then all are written as RGB."""
    dtypes: dict[str, str]
    """{dtype met: name of the first sample that has it}."""
    ids: dict[str, tuple[int, ...]]
    """{sample: ids in its mask}."""
    first_with: dict[int, str]
    """{id: name of the first sample that has it}."""
    unlisted: Counter[int]
    """Pixels of each colour that is in no table, of all masks."""
    first_unlisted: str | None
    pixels: int


def in_parallel(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[tuple[Item, Result]]:
    """Each item with its result, in order; at most 2 * workers results wait, whatever there is in all."""
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[tuple[Item, Future[Result]]] = deque()
        try:
            for item in items:
                waiting.append((item, pool.submit(work, item)))
                if len(waiting) > 2 * workers:
                    first, result = waiting.popleft()
                    yield first, result.result()
            while waiting:
                first, result = waiting.popleft()
                yield first, result.result()
        finally:
            for _, result in waiting:
                result.cancel()


def sources(pairs: Sequence[Pair], workers: int, shown: Callable[..., Iterable]) -> list[Source]:
    """Each page of each pair: a file of several becomes samples NAME_000, NAME_001, ...

    Raises:
        SegframeError: image and mask have different numbers of pages.
    """
    found: list[Source] = []
    stacks = 0
    counted = in_parallel(lambda pair: [pages(path) for path in (pair.image, *pair.masks)], pairs, workers)
    for pair, counts in shown(counted, "opening", len(pairs)):
        if len(set(counts)) > 1:
            names = [path.name for path in (pair.image, *pair.masks)]
            raise SegframeError(
                f"sample {pair.name!r}",
                expected="as many pages in the mask as in the image",
                got=", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True)),
                remedy="Save one mask page for each image page.",
            )
        count, stacks = counts[0], stacks + (counts[0] > 1)
        for number in range(count):
            name = pair.name if count == 1 else f"{pair.name}_{number:0{max(3, len(str(count - 1)))}}"
            masks = tuple(Page(path, number) for path in pair.masks)
            stack = pair.name if count > 1 else None
            found.append(Source(name, pair.split, stack, Page(pair.image, number), masks))
    if stacks:
        log.info("%d files of several pages: each page is a sample, NAME_000, ...", stacks)
    twice = [name for name, count in Counter(source.name for source in found).items() if count > 1]
    if twice:
        raise SegframeError(
            "names", expected="each once", got=f"{twice[0]!r} twice, once as a page", remedy="Rename one."
        )
    return found


def look(source: Source, coding: Coding) -> Look:
    """Read an image's header and its mask.

    Raises:
        SegframeError: a file cannot be read, or image and mask differ in size.
    """
    import numpy as np

    header = read_header(source.image)
    mask = read_coded(source.masks, coding)
    if mask.ids.shape != header.size:
        height, width = header.size
        raise SegframeError(
            f"sample {source.name!r}",
            expected="image and mask of one size",
            got=f"image {height} x {width}, mask {mask.ids.shape[0]} x {mask.ids.shape[1]} (height x width)",
            remedy="Cut or scale one of them; scale masks by nearest neighbour only.",
        )
    values = np.unique(mask.ids).tolist()
    return Look(header, tuple(value for value in values if value >= 0 or not mask.colours), mask.colours)


def survey(found: Sequence[Source], coding: Coding, workers: int, shown: Callable[..., Iterable]) -> Survey:
    """Look at all; what reading will change is said, once for each kind.

    Raises:
        SegframeError: as look.
    """
    sizes: set[tuple[int, int]] = set()
    first_with: dict[int, str] = {}
    dtypes: dict[str, str] = {}
    ids: dict[str, tuple[int, ...]] = {}
    notes: dict[str, list[str]] = {}
    unlisted: Counter[int] = Counter()
    first_unlisted, pixels, colours = None, 0, set()
    looks = in_parallel(lambda source: look(source, coding), found, workers)
    for source, seen in shown(looks, "checking", len(found)):
        sizes.add(seen.header.size)
        pixels += seen.header.size[0] * seen.header.size[1]
        colours.add(seen.header.colour)
        dtypes.setdefault(seen.header.dtype, source.name)
        ids[source.name] = seen.ids
        for value in seen.ids:
            first_with.setdefault(value, source.name)
        for note in seen.header.notes:
            notes.setdefault(note, []).append(source.name)
        if seen.unlisted:
            first_unlisted = first_unlisted or source.name
            unlisted = Counter(dict((unlisted + seen.unlisted).most_common(2 * 4096)))
    for note, names in notes.items():
        log.info("%d images with %s (%s%s)", len(names), note, names[0], ", ..." * (len(names) > 1))
    if colours == {True, False}:
        log.info("grey images among coloured ones: they become RGB")
    return Survey(sizes, True in colours, dtypes, ids, first_with, unlisted, first_unlisted, pixels)
