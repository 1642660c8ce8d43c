"""Every sample looked at once: names, largest size, content hash and faults; remembered for later runs."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from segframe import SegframeError, cache_folder

if TYPE_CHECKING:
    from segframe_tfds.tfds_dataset import TfdsDataset

log = logging.getLogger("segframe")

ALGORITHM = 1
"""Raised when the hash, a check or how a sample is read changes."""
DECODERS = ("pillow", "opencv-python", "opencv-python-headless", "opencv-contrib-python")
"""What JPEG files are decoded with, whichever is there: another version may give other pixels."""


class Facts(NamedTuple):
    """What only a look at all samples tells."""

    ids: dict[str, list[str]]
    image_shape: tuple[int, int, int]
    content_hash: str


def facts_of(dataset: TfdsDataset, folder: Path, settings: Any) -> Facts:
    """As `scan`, remembered in the user's cache folder while files, settings and decoders stay the same."""
    files = [
        [file.name, file.stat().st_size, file.stat().st_mtime_ns]
        for file in sorted(folder.glob("*"))
        if file.is_file()
    ]
    if not files:  # mocked: there is nothing by which to know the data again
        return scan(dataset)
    key = json.dumps([ALGORITHM, dataset.name, str(folder.resolve()), files, settings, _decoders()])
    memory = cache_folder() / "tfds" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    if memory.exists():
        ids, shape, digest = json.loads(memory.read_text(encoding="utf-8"))
        return Facts(ids, tuple(shape), digest)
    found = scan(dataset)
    memory.parent.mkdir(exist_ok=True)
    temporary = memory.with_name(f".{os.getpid()}.{memory.name}")
    temporary.write_text(json.dumps(found), encoding="utf-8")
    os.replace(temporary, memory)  # whole or not at all; two processes write the same
    return found


def scan(dataset: TfdsDataset) -> Facts:
    """Read all samples.

    Raises:
        SegframeError: what reading finds wrong, channels that differ, or a name that stands there twice.
    """
    whole, start = hashlib.sha256(), time.monotonic()
    ids: dict[str, list[str]] = {}
    sizes: list[tuple[int, ...]] = []
    first: dict[bytes, str] = {}
    twice: list[tuple[str, str]] = []
    total = sum(dataset.count(split) for split in dataset.splits)
    log.info("checking %d samples of %s, once", total, dataset.name)
    for split in dataset.splits:
        ids[split] = []
        for index in range(dataset.count(split)):
            name, (image, mask) = dataset.named(split, index)
            ids[split].append(name)
            sizes.append(image.shape)
            _add(whole, [split, name, list(image.shape)])
            pixels = hashlib.sha256(np.ascontiguousarray(image).data).digest()
            whole.update(pixels)
            whole.update(np.ascontiguousarray(mask).data)
            if pixels in first and not first[pixels].startswith(f"{split} "):
                twice.append((first[pixels], f"{split} {name}"))
            first.setdefault(pixels, f"{split} {name}")
    _check(dataset.name, ids, {shape[2] for shape in sizes})
    if twice:
        log.warning(
            "%s: %d images are in two splits, %s and %s, for one: scores on them say nothing.",
            dataset.name, len(twice), *twice[0],
        )  # fmt: skip
    heights, widths, channels = zip(*sizes, strict=True)
    shape = max(heights), max(widths), channels[0]
    _add(whole, [list(dataset.class_names), list(shape)])
    log.info("checked in %.1f s", time.monotonic() - start)
    return Facts(ids, shape, whole.hexdigest())


def _check(name: str, ids: dict[str, list[str]], channels: set[int]) -> None:
    counted = Counter(one for split in ids.values() for one in split)
    doubled = [one for one, times in counted.items() if times > 1]
    for wrong, expected, got, remedy in [
        (doubled, "a name for each sample, in one split", f"{len(doubled)} names twice ({doubled[:1]})",
         "Choose splits that do not overlap, or dataset.ids=null."),
        (len(channels) > 1, "images of one number of channels", f"{sorted(channels)}",
         "Choose another feature."),
    ]:  # fmt: skip
        if wrong:
            raise SegframeError(f"data set {name}", expected=expected, got=got, remedy=remedy)


def _decoders() -> dict[str, str]:
    found = {}
    for name in DECODERS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _add(whole: Any, facts: list[Any]) -> None:
    text = json.dumps(facts).encode()
    whole.update(len(text).to_bytes(8, "little") + text)
