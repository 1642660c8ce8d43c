"""All maps of a data set made, several samples at once, with a bar where somebody watches."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from segframe.console import interactive
from segframe.dataset import Dataset
from segframe.errors import SegframeError
from segframe.map_file import Damaged, MapFile, digest

AHEAD = 2  # maps a thread may be ahead of the writer: bounds the memory


def make_all(
    name: str, maker: Any, dataset: Dataset, known: Sequence[MapFile], on_map: Callable[[], None]
) -> Generator[tuple[str, np.ndarray], None, None]:
    """(digest of the mask, map) of every sample, each different mask once, in the order of the samples.

    In threads: SciPy and NumPy let others run while they compute. A map that a known file has is taken from
    there.

    Raises:
        SegframeError: the maker returned something else than it announced, or a sample cannot be read.
    """
    seen: set[str] = set()
    lock = threading.Lock()

    def one(split: str, index: int) -> tuple[str, np.ndarray] | None:
        mask = dataset.read(split, [index])[0].mask
        of = digest(mask)
        with lock:
            if of in seen:
                return None
            seen.add(of)
        for file in known:
            try:
                return of, file.read(of)
            except (KeyError, Damaged):
                continue
        return of, _checked(name, maker, mask)

    samples = [(split, index) for split in dataset.splits for index in range(len(dataset.ids(split)))]
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[tuple[str, np.ndarray] | None]] = deque()
    rest = iter(samples)
    try:
        for _ in _shown(samples, f"maps {name}"):
            while len(waiting) < AHEAD * threads and (sample := next(rest, None)) is not None:
                waiting.append(pool.submit(one, *sample))
            made = waiting.popleft().result()
            on_map()
            if made is not None:
                yield made
    finally:
        pool.shutdown(cancel_futures=True)


def _checked(name: str, maker: Any, mask: np.ndarray) -> np.ndarray:
    made = maker.make(mask)
    if (made.shape, str(made.dtype)) != ((*mask.shape, maker.channels), maker.dtype):
        raise SegframeError(
            f"the maker of the maps {name!r}",
            expected=f"{(*mask.shape, maker.channels)} {maker.dtype}",
            got=f"{made.shape} {made.dtype}",
            remedy="Mend the plugin: see segframe_maps in segframe/hooks.py.",
        )
    return made


def _shown(samples: Sequence[Any], what: str) -> Any:
    from rich.console import Console
    from rich.progress import track

    return track(samples, what, console=Console(stderr=True), disable=not interactive(), transient=True)
