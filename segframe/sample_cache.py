"""device.cache: decoded samples kept from pass to pass, in memory or in a file of the user's cache folder.

What is read is the same to the bit with and without. Where a cache does not fit, a line says so and samples
are decoded each time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from segframe.atomic import replacing
from segframe.cache import cache_folder, locked
from segframe.dataset import Dataset, Sample
from segframe.errors import SegframeError
from segframe.memory import available_memory
from segframe.sample_file import Damaged, SampleFile, file_bytes, write
from segframe.split import Part

log = logging.getLogger("segframe")

LAYOUT = 1
"""Raised when the layout of a file or of a key changes."""

MEMORY_SHARE = 0.5
"""Of the memory that is available when a run begins."""


def cached(
    dataset: Dataset, parts: Mapping[str, Part], where: str, on_sample: Callable[[], None] = lambda: None
) -> Dataset:
    """The data set with its samples kept.

    Args:
        parts: of the run; their samples are kept.
        where: "none", "memory" or "disk".
        on_sample: called after each sample that is written to the disk; may raise, and nothing is left then.

    Raises:
        SegframeError: a sample cannot be read.
    """
    if where == "none":
        return dataset
    first = parts["train"]
    dtype = dataset.read(first.split, first.indices[:1])[0].image.dtype
    if where == "memory":
        needed = file_bytes(sum(len(part.ids) for part in parts.values()), dataset.image_shape, dtype)
        free = available_memory()
        if needed > MEMORY_SHARE * free:
            log.warning(
                "device.cache=memory: the decoded samples need up to %s, more than half of the %s that are "
                "free: they are decoded each time. device.cache=disk keeps them in a file.",
                _size(needed), _size(free),
            )  # fmt: skip
            return dataset
        log.info(
            "device.cache=memory: decoded samples stay in memory, up to %s (%s are free).",
            _size(needed),
            _size(free),
        )
        return cast(Dataset, InMemory(dataset))
    try:
        return _on_disk(dataset, dtype, on_sample)
    except OSError as error:
        why = " ".join(str(error).split())
        log.warning("device.cache=disk: samples cannot be kept and are decoded each time: %s", why)
        return dataset


class Cached:
    """A data set whose samples come from elsewhere; all else is as it was."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def __getattr__(self, name: str) -> Any:
        return getattr(self.dataset, name)


class InMemory(Cached):
    """Keeps each sample when it is first read."""

    read_stacked = None

    def __init__(self, dataset: Dataset):
        super().__init__(dataset)
        self._kept: dict[tuple[str, int], Sample] = {}

    def read(self, split: str, indices: Sequence[int]) -> list[Sample]:
        keys = [(split, int(index)) for index in indices]
        missing = [key for key in dict.fromkeys(keys) if key not in self._kept]
        if missing:
            found = self.dataset.read(split, [index for _, index in missing])
            for key, sample in zip(missing, found, strict=True):
                for array in sample:
                    array.flags.writeable = False
                self._kept[key] = sample
        return [self._kept[key] for key in keys]


class OnDisk(Cached):
    """Reads samples from a SampleFile; from the data set where that is damaged."""

    def __init__(self, dataset: Dataset, file: SampleFile):
        super().__init__(dataset)
        self.file = file
        self._ids = {split: tuple(dataset.ids(split)) for split in dataset.splits}
        self._damaged = False

    def read(self, split: str, indices: Sequence[int]) -> list[Sample]:
        return [self._one(split, int(index), np.empty, None) for index in indices]

    def read_stacked(
        self, split: str, indices: Sequence[int], empty: Callable[..., np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """As segframe.dataset."""
        kinds = {self.file.shape(self._ids[split][int(index)]) for index in indices}
        if len(kinds) != 1:
            return None
        ((shape, dtype),) = kinds
        images, masks = empty((len(indices), *shape), dtype), empty((len(indices), *shape[:2]), np.uint8)
        for index, *places in zip(indices, images, masks, strict=True):
            self._one(split, int(index), np.empty, Sample(*places))
        return images, masks

    def _one(self, split: str, index: int, empty: Callable[..., np.ndarray], out: Sample | None) -> Sample:
        name = self._ids[split][index]
        shape, dtype = self.file.shape(name)
        out = out or Sample(empty(shape, dtype), empty(shape[:2], np.uint8))
        try:
            self.file.read(name, *out)
        except Damaged as error:
            if not self._damaged:
                self._damaged = True
                log.warning(
                    "Kept samples are damaged (%s): decoded again, the file anew in the next run.", error
                )
                self.file.path.unlink(missing_ok=True)
            for place, values in zip(out, self.dataset.read(split, [index])[0], strict=True):
                place[...] = values
        return out


def _on_disk(dataset: Dataset, dtype: Any, on_sample: Callable[[], None]) -> Dataset:
    ids = sorted(name for split in dataset.splits for name in dataset.ids(split))
    key = json.dumps([LAYOUT, dataset.content_hash, hashlib.sha256(json.dumps(ids).encode()).hexdigest()])
    path = folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.samples"
    with locked(path, "writing the same decoded samples", on_sample):
        file = _opened(path, key)
        if file is None:
            needed = file_bytes(len(ids), dataset.image_shape, dtype)
            free = shutil.disk_usage(path.parent).free
            for left_by_a_kill in path.parent.glob(f".*.{path.name}"):
                left_by_a_kill.unlink()
            if needed > free:
                raise OSError(f"they need up to {_size(needed)}, and {path.parent} has {_size(free)}")
            log.info(
                "device.cache=disk: decoding %d samples once, up to %s: %s", len(ids), _size(needed), path
            )
            source = getattr(dataset, "dataset", dataset)  # of a fold
            about = {"of": str(getattr(source, "path", "")), "samples": len(ids),
                     "made": time.strftime("%Y-%m-%d %H:%M")}  # fmt: skip

            def all_samples() -> Iterator[tuple[str, Sample]]:
                for split in dataset.splits:
                    for index, name in enumerate(dataset.ids(split)):
                        yield name, dataset.read(split, [index])[0]
                        on_sample()

            with replacing(path) as temporary:
                write(temporary, all_samples(), key, about)
            file = SampleFile(path, key)
        else:
            log.info("device.cache=disk: decoded samples are read from %s", path)
    return cast(Dataset, OnDisk(dataset, file))


def _opened(path: Path, key: str) -> SampleFile | None:
    try:
        return SampleFile(path, key)
    except FileNotFoundError:
        return None
    except Damaged as error:
        log.warning("Kept samples are damaged (%s): decoded anew.", error)
        return None


def folder() -> Path:
    """Where the files are.

    Raises:
        OSError: it cannot be made or written.
    """
    try:
        found = cache_folder() / "samples"
    except SegframeError as error:
        raise OSError(str(error)) from error
    found.mkdir(exist_ok=True)
    return found


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
