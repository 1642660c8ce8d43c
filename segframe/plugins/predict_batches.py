"""Batch by batch: read ahead, predict, write; one image that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from segframe.atomic import writable
from segframe.errors import SegframeError
from segframe.plugins.predict_files import Band, Files
from segframe.plugins.predict_sources import Item
from segframe.plugins.predicting import Predictor, reason

if TYPE_CHECKING:
    from segframe.interrupt import Interrupt

T = TypeVar("T")
R = TypeVar("R")

REMEDY = "Make room and give the same command again: it goes on with what is missing."


def run_batches(
    predictor: Predictor,
    batches: Iterable[list[Item]],
    files: Files,
    missing: Collection[str],
    interrupt: Interrupt,
) -> dict[str, str]:
    """Predict and write; the next batch is read meanwhile. {where: what is wrong} of those that fail."""
    failed: dict[str, str] = {}
    with ThreadPoolExecutor(1) as reader:
        for opened, unreadable in _ahead(reader, predictor.read, batches):
            interrupt.leave()
            failed |= unreadable
            for item, found in predictor.predict(opened):
                if item.name not in missing:
                    continue
                with writable(f"folder {files.folder}", REMEDY):
                    try:
                        files.write(item, _stopping(found, interrupt))
                    except SegframeError as error:
                        failed[item.where] = reason(error)
    interrupt.leave()
    return failed


def _ahead(pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """work(item) of each, one ahead of what is taken."""
    pending: Future[R] | None = None
    for item in items:
        following = pool.submit(work, item)
        if pending is not None:
            yield pending.result()
        pending = following
    if pending is not None:
        yield pending.result()


def _stopping(found: Iterator[Band], interrupt: Interrupt) -> Iterator[Band]:
    """The bands, until a stop is asked for: an image of many tiles may take minutes."""
    for band in found:
        yield band
        interrupt.leave()
