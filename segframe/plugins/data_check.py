"""`data check`: every rule of the layout on every sample, and all that breaks one, not the first only."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segframe.dataset import foreground
from segframe.errors import SegframeError
from segframe.plugins.data_words import shown
from segframe.plugins.hdf5_file import open_file, understood
from segframe.plugins.hdf5_layout import Facts, survey_layout, wrong_ids_remedy
from segframe.plugins.hdf5_split import Arrays, Split, as_sample
from segframe.plugins.near_duplicates import image_digest
from segframe.plugins.verify import check_finite

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("segframe")

ALIKE_SHOWN = 3


def check(path: Path, *, as_json: bool) -> int:
    """Print all faults and warnings of the file; 0 where there is no fault, otherwise 2."""
    found = find_faults(path)
    if as_json:
        print(json.dumps(found.for_json(), indent=1, ensure_ascii=False))
    else:
        print(found.as_text())
    return 2 if found.faults else 0


class Found:
    """What a check met."""

    def __init__(self, path: Path):
        self.path = path
        self.faults: list[SegframeError] = []
        self.warnings: list[str] = []
        self.samples: dict[str, int] = {}

    def for_json(self) -> dict[str, Any]:
        keys = ("subject", "expected", "got", "remedy")
        return {
            "file": str(self.path),
            "ok": not self.faults,
            "samples": self.samples,
            "faults": [{key: getattr(fault, key) for key in keys} for fault in self.faults],
            "warnings": self.warnings,
        }

    def as_text(self) -> str:
        """Faults that one remedy mends stand together, the first of them shown."""
        alike: dict[tuple[str, str], list[SegframeError]] = {}
        for fault in self.faults:
            alike.setdefault((fault.expected, fault.remedy), []).append(fault)
        lines = []
        for (expected, remedy), faults in alike.items():
            for fault in faults[:ALIKE_SHOWN]:
                lines.append(f"Fault: {fault.subject}: expected {expected}, got {fault.got}.")
            if len(faults) > ALIKE_SHOWN:
                lines.append(f"       and {len(faults) - ALIKE_SHOWN} more like it; --json lists all.")
            lines.append(f"  {remedy}")
        lines += [f"Warning: {warning}" for warning in self.warnings]
        samples = ", ".join(f"{count} {split}" for split, count in self.samples.items()) or "no samples"
        faults_met = f"{len(self.faults)} fault{'s' * (len(self.faults) != 1)}"
        lines.append(f"{self.path}: {faults_met}, {len(self.warnings)} warnings; read: {samples}")
        return "\n".join(lines)


def find_faults(path: Path) -> Found:
    """Check the file's facts, then read each sample that can be read."""
    found = Found(path)
    try:
        file = open_file(path)
    except SegframeError as error:
        found.faults.append(error)
        return found
    with file:
        facts, splits = survey_layout(file, path, found.faults.append)
        _read_all(file, facts, splits, found)
    return found


def _read_all(file: Any, facts: Facts | None, splits: Mapping[str, Split], found: Found) -> None:
    import numpy as np

    allowed = np.array(facts.classes.is_class() if facts else [True] * 256)
    pixels = {split: np.zeros(256, np.int64) for split in splits}
    outside: list[tuple[str, list[int]]] = []
    seen: dict[bytes, tuple[str, str]] = {}
    arrays = Arrays(file)
    work = [(split, index) for split in splits.values() for index in range(len(split.ids))]
    for split, index in shown(work, "reading", len(work)):
        sample = split.ids[index]
        where = f"data file {found.path}, {split.name} sample {sample!r}"
        dtypes = [split.stored(file, kind, index).dtype for kind in ("images", "masks")]
        if dtypes[0].kind not in "uif" or not (dtypes[1] == "uint8" or dtypes[1].kind == "b"):
            continue  # told already, with the layout's faults
        try:
            with understood(where):
                image, mask = (
                    as_sample(arrays.of(split, kind, index).read(split.place(index)), kind)
                    for kind in ("images", "masks")
                )
        except SegframeError as error:
            found.faults.append(error)
            continue
        found.samples[split.name] = found.samples.get(split.name, 0) + 1
        try:
            check_finite(image, f"{where}, image")
        except SegframeError as error:
            found.faults.append(error)
        counts = np.bincount(mask.ravel(), minlength=256)
        pixels[split.name] += counts
        wrong = np.flatnonzero((counts > 0) & ~allowed).tolist()
        if wrong:
            outside.append((where, wrong))
        _note_twice(image, split.name, sample, seen, found)
    met = sum(pixels.values(), np.zeros(256, np.int64)) > 0
    binary = bool(met[255]) and not met[1:255].any()
    for where, wrong in outside:
        found.faults.append(_wrong_ids(where, wrong, facts, found.path, binary))
    if facts:
        _warn_of_classes(facts, pixels, found)


def _note_twice(
    image: np.ndarray, split: str, sample: str, seen: dict[bytes, tuple[str, str]], found: Found
) -> None:
    """The same picture in two splits makes scores worthless; within one it counts twice."""
    if image.min() == image.max():
        return  # blank slices are alike and mean nothing
    split_before, before = seen.setdefault(image_digest(image), (split, sample))
    if (split_before, before) == (split, sample):
        return
    if split_before == split:
        found.warnings.append(f"{split} samples {before!r} and {sample!r} have the same image")
        return
    found.faults.append(
        SegframeError(
            f"data file {found.path}, {split} sample {sample!r}, image",
            expected="an image that is in one split only",
            got=f"that of {split_before} sample {before!r}",
            remedy="Leave one of the two out; a sample in two splits makes scores worthless.",
        )
    )


def _warn_of_classes(facts: Facts, pixels: Mapping[str, np.ndarray], found: Found) -> None:
    classes = facts.classes
    names = classes.in_file()
    for split, counts in pixels.items():
        lacking = [name for i, name in enumerate(names) if not counts[i] and i != classes.ignore_index]
        if lacking:
            found.warnings.append(f"no pixel in {split} is of class {', '.join(lacking)}")
        kept = [names.index(classes.names[i]) for i in foreground(classes.names)]
        if counts.any() and not counts[kept].any():
            found.warnings.append(f"{split} has no foreground at all")


def _wrong_ids(where: str, wrong: list[int], facts: Facts | None, path: Path, binary: bool) -> SegframeError:
    known = ", ".join(facts.classes.names) if facts else ""
    return SegframeError(
        f"{where}, mask",
        expected=f"ids of the classes {known}",
        got=f"id{'s' * (len(wrong) > 1)} {', '.join(map(str, wrong[:10]))}{', ...' * (len(wrong) > 10)}",
        remedy=wrong_ids_remedy(path, wrong, binary),
    )
