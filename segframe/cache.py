"""The user's cache folder: where it is, and results that are kept there from run to run."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from segframe.atomic import write_json
from segframe.errors import SegframeError

log = logging.getLogger("segframe")


def cache_folder() -> Path:
    """SEGFRAME_CACHE, or the platform's folder for caches; made if it is not there yet.

    Raises:
        SegframeError: it cannot be made or written.
    """
    import platformdirs

    folder = Path(os.environ.get("SEGFRAME_CACHE") or platformdirs.user_cache_dir("segframe")).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        problem = None if os.access(folder, os.W_OK | os.X_OK) else "one that may not be written"
    except OSError as error:
        problem = error.strerror or str(error)
    if problem:
        raise SegframeError(
            f"cache folder {folder}",
            expected="a folder that can be written",
            got=problem,
            remedy="Name another one: export SEGFRAME_CACHE=/some/folder",
        )
    return folder.resolve()


def remembered(kind: str, key: list[Any], make: Callable[[], Any]) -> Any:
    """What make() gave for this key before, or gives now: kept in the cache folder, below `kind`.

    A memory that is damaged is made anew. Where nothing can be kept, make() works each time and a warning
    says so.

    Args:
        key: JSON values: all that the result depends on.
        make: its result is a JSON value; tuples come back as lists.
    """
    memory = None
    try:
        folder = cache_folder() / kind
        folder.mkdir(exist_ok=True)
        memory = folder / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]}.json"
        found = json.loads(memory.read_text(encoding="utf-8"))
        if found["key"] == key:
            return found["value"]
    except FileNotFoundError:
        log.debug("%s: not known yet", kind)
    except (ValueError, KeyError, TypeError):
        log.info("%s cannot be used: it is made anew", memory)
    except (SegframeError, OSError) as error:
        log.warning("What is found out now (%s) is not kept for later runs: %s", kind, error)
    value = make()
    try:
        if memory is not None:
            write_json(memory, {"key": key, "value": value})
    except OSError as error:
        log.warning("What was found out (%s) is not kept for later runs: %s", kind, error)
    return value


@contextmanager
def locked(path: Path, doing: str, while_waiting: Callable[[], None]) -> Iterator[None]:
    """One process at a time makes `path`; others wait and say so.

    Args:
        doing: what the other process is at.
        while_waiting: called every half second; it may raise.
    """
    from filelock import FileLock, Timeout

    lock, told = FileLock(path.with_suffix(".lock")), False
    while not lock.is_locked:
        try:
            lock.acquire(timeout=0.5)
        except Timeout:
            if not told:
                log.info("Another process is %s: waiting for it.", doing)
            told = True
            while_waiting()
        except NotImplementedError:
            log.warning("%s cannot lock files: another process may be %s too.", lock.lock_file, doing)
            break
    try:
        yield
    finally:
        lock.release()


def clear(paths: Iterable[Path]) -> int:
    """Remove files and what killed processes left of them, but none that is being made; bytes freed."""
    from filelock import FileLock, Timeout

    freed = 0
    for path in paths:
        lock = FileLock(path.with_suffix(".lock"))
        try:
            with lock.acquire(timeout=0):
                for file in (path, *path.parent.glob(f".*.{path.name}")):
                    freed += file.stat().st_size
                    file.unlink()
        except Timeout:
            log.warning("%s is being made by another process: left.", path.name)
            continue
        path.with_suffix(".lock").unlink(missing_ok=True)
    return freed
