"""Samples into the HDF5 file: a small set at once, a large one in parts, so that a killed import goes on.

A part is a whole HDF5 file of some samples in a folder beside OUT, made atomically, with a checksum of each
sample. Started again, an import of the same files, read in the same way, believes the parts that are what was
written. At the end their chunks are copied as they are, compressed, and the folder goes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from segframe.atomic import write_text
from segframe.errors import SegframeError
from segframe.plugins.hdf5_file import BROKEN
from segframe.plugins.hdf5_writer import Hdf5Writer, new_file, writing
from segframe.plugins.import_survey import Source, in_parallel

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("segframe")

PART_BYTES = 2**28
VERSION = 1

Pixels = tuple["np.ndarray", "np.ndarray"]


class Plan(NamedTuple):
    """What is to be written."""

    out: Path
    sources: Sequence[Source]
    read: Callable[[Source], Pixels]
    """Source -> (image, mask), in any thread."""
    how: str
    """All that `read` depends on beside the files."""
    splits: Mapping[str, str]
    groups: Mapping[str, str]
    """Empty where nothing is grouped."""
    per_sample: bool
    attributes: Mapping[str, Any]
    total_bytes: int
    workers: int
    shown: Callable[..., Iterable]


def write(plan: Plan) -> None:
    """Write plan.out, whole or not at all.

    Raises:
        SegframeError: a file cannot be read, the disk is full, or another process imports to the same file.
    """
    if plan.total_bytes <= PART_BYTES:
        with writing(plan.out, per_sample=plan.per_sample) as writer:
            read = in_parallel(plan.read, plan.sources, plan.workers)
            for source, (image, mask) in plan.shown(read, "writing", len(plan.sources)):
                writer.add(plan.splits[source.name], source.name, image, mask, plan.groups.get(source.name))
            writer.set(plan.attributes)
        return
    from filelock import FileLock, Timeout

    folder = plan.out.with_name(f".{plan.out.name}.import")
    folder.mkdir(exist_ok=True)
    try:
        with FileLock(folder / "lock", timeout=0):
            _merge(plan, _parts(plan, folder))
            shutil.rmtree(folder)
    except Timeout as error:
        raise SegframeError(
            f"file {plan.out}",
            expected="one import to it",
            got="another that is running",
            remedy="Wait for it.",
        ) from error
    except BaseException:
        log.info("What is done so far is kept in %s: the same command goes on from there.", folder)
        raise


def _parts(plan: Plan, folder: Path) -> list[tuple[Path, list[Source]]]:
    """All parts, those that are missing made now."""
    key = _key(plan)
    known = folder / "key"
    if not known.exists() or known.read_text(encoding="utf-8") != key:
        old = sorted(folder.glob("part-*.h5"))
        if old:
            log.info("%s is of other files or options: the import starts from the beginning", folder)
        for part in old:
            part.unlink()
        write_text(known, key)
    batches = _batches(plan)
    parts = [(folder / f"part-{number:05}.h5", batch) for number, batch in enumerate(batches)]
    missing = [(part, batch) for part, batch in parts if not _whole(part, batch)]
    if len(missing) < len(parts):
        log.info(
            "an import that was stopped goes on: %d of %d parts are there",
            len(parts) - len(missing),
            len(parts),
        )
    samples = [source for _, batch in missing for source in batch]
    read = iter(plan.shown(in_parallel(plan.read, samples, plan.workers), "reading", len(samples)))
    for part, batch in missing:
        sums = []
        with new_file(part) as file:
            writer = Hdf5Writer(file, plan.per_sample)
            for _ in batch:
                source, (image, mask) = next(read)
                writer.add("train", source.name, image, mask)
                sums.append(_checksum(image, mask))
            writer.finish()
            file["checksums"] = sums
    return parts


def _whole(part: Path, batch: Sequence[Source]) -> bool:
    """Whether a part is what was written."""
    import h5py

    if not part.exists():
        return False
    try:
        with h5py.File(part, "r") as file:
            pairs = [_stored(file, source, index) for index, source in enumerate(batch)]
            sums = [_checksum(image[at], mask[at]) for image, mask, at in pairs]
            return sums == file["checksums"][()].tolist()
    except BROKEN as error:
        log.info("%s is damaged and is made again: %s", part, error)
        return False


def _merge(plan: Plan, parts: Sequence[tuple[Path, list[Source]]]) -> None:
    import h5py

    with writing(plan.out, per_sample=plan.per_sample) as writer:
        for part, batch in plan.shown(parts, "putting together", len(parts)):
            with h5py.File(part, "r") as file:
                for index, source in enumerate(batch):
                    image, mask, at = _stored(file, source, index)
                    name = source.name
                    place = None if at is ... else index
                    writer.add_stored(plan.splits[name], name, image, mask, place, plan.groups.get(name))
        writer.set(plan.attributes)


def _stored(file: Any, source: Source, index: int) -> tuple[Any, Any, Any]:
    """The datasets of image and mask, and where in them the sample lies."""
    import h5py

    images, masks = file["train/images"], file["train/masks"]
    if isinstance(images, h5py.Group):
        return images[source.name], masks[source.name], ...
    return images, masks, index


def _batches(plan: Plan) -> list[list[Source]]:
    """Runs of samples of about PART_BYTES each."""
    size = max(1, round(PART_BYTES * len(plan.sources) / plan.total_bytes))
    return [list(plan.sources[start : start + size]) for start in range(0, len(plan.sources), size)]


def _key(plan: Plan) -> str:
    """Differs wherever a part might."""
    whole = hashlib.sha256(json.dumps([VERSION, plan.how, plan.per_sample, PART_BYTES]).encode())
    for source in plan.sources:
        for page in (source.image, *source.masks):
            known = page.path.stat()
            facts = [source.name, str(page.path.resolve()), page.number, known.st_size, known.st_mtime_ns]
            whole.update(json.dumps(facts).encode())
    return whole.hexdigest()


def _checksum(image: np.ndarray, mask: np.ndarray) -> int:
    import numpy as np

    start = zlib.crc32(f"{image.shape} {image.dtype}".encode())
    return zlib.crc32(np.ascontiguousarray(mask).data, zlib.crc32(np.ascontiguousarray(image).data, start))
