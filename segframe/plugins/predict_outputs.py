"""The folder that `predict` writes to: each file whole or not there, each mask saying what it was made of.

OUT/
  NAME.png                  class ids: palette indices, grey values or colours
  overlays/NAME.png         the image with its classes laid over it
  probabilities/NAME.npy    (height, width, num_classes) float16
  predict.json              run, hash of the weights, options, class names; failed images
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from segframe.atomic import write_json
from segframe.errors import SegframeError
from segframe.plugins.predict_files import OVERLAYS, PROBABILITIES, Files
from segframe.plugins.predict_sources import Item

MANIFEST, OWN_FOLDERS = "predict.json", (OVERLAYS, PROBABILITIES)


class Outputs:
    """`check`; then, within `lock`, `prepare`, what is done with the files, and `tell`.

    Args:
        facts: what every output depends on, for JSON: the weights' hash, the options, ...
    """

    def __init__(self, files: Files, facts: Mapping[str, Any]):
        self.files, self.folder, self.facts = files, files.folder, dict(facts)

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
        there = [path for item in items for path in self.files.paths(item) if path.exists()]
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
            for path in (path for item in items for path in self.files.paths(item)):
                path.unlink(missing_ok=True)
        self.tell(failed={})

    def tell(self, failed: Mapping[str, str]) -> None:
        """Write predict.json."""
        write_json(self.folder / MANIFEST, {"facts": self.facts, "failed": dict(failed)})


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
