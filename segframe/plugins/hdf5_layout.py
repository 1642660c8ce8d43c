"""What an HDF5 file of the layout in hdf5.py holds: its facts and splits, checked without reading pixels."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from segframe.errors import SegframeError, nearest
from segframe.plugins.hdf5_facts import Classes, read_classes, read_spacing
from segframe.plugins.hdf5_file import Fault, member, names_in, understood
from segframe.plugins.hdf5_pair import Images
from segframe.plugins.hdf5_split import Split, read_split

log = logging.getLogger("segframe")

SPLITS = ("train", "val", "test")


class Facts(NamedTuple):
    """What is true of the whole file."""

    classes: Classes
    spacing: tuple[float, float] | None
    image_shape: tuple[int, int, int]


def read_layout(file: Any, path: Path) -> tuple[Facts, dict[str, Split]]:
    """Facts and splits of an open file.

    Raises:
        SegframeError: something is missing, of another type or size, or does not fit the rest.
    """

    def stop(error: SegframeError) -> None:
        raise error

    facts, splits = survey_layout(file, path, stop)
    assert facts is not None, "what is missing was raised"
    return facts, splits


def survey_layout(file: Any, path: Path, fault: Fault) -> tuple[Facts | None, dict[str, Split]]:
    """As read_layout, each fault told to `fault`; facts are None where a fault leaves them open."""
    named = f"data file {path}"
    met: list[SegframeError] = []

    def tell(error: SegframeError) -> None:
        met.append(error)
        fault(error)

    found: list[Images] = []
    splits: dict[str, Split] = {}
    try:
        with understood(named):
            names = names_in(file, named)
            near = nearest("train", names)
            # A file without train can be scored on; segframe.split says it to who wants to train.
            if "train" not in names and ("Did you mean" in near or not set(names) & set(SPLITS)):
                remedy = f"{near} The layout is in segframe/plugins/hdf5.py."
                got = f"groups: {', '.join(names) or 'none'}"
                tell(SegframeError(named, expected="a group 'train'", got=got, remedy=remedy))
            for name in names:
                if name not in SPLITS:
                    log.info("%s: /%s is no split (%s): it is left alone", path, name, ", ".join(SPLITS))
    except SegframeError as error:
        tell(error)
    for name in SPLITS:
        where = f"{named}, /{name}"
        try:
            with understood(where):
                group = member(file, name, where)
                if group is None:
                    continue
                split, images = read_split(group, name, where, path, tell)
        except SegframeError as error:
            tell(error)
            continue
        found += images
        if split is not None:
            splits[name] = split
    _check_once(splits, named, tell)
    _check_alike(found, named, tell)
    classes = spacing = None
    try:
        with understood(named):
            classes = read_classes(file.attrs, path, tell)
            spacing = read_spacing(file.attrs, path)
    except SegframeError as error:
        tell(error)
    if not splits and not met:
        remedy = "The file is damaged: copy or write it again."
        tell(SegframeError(named, expected="samples", got="none that can be found", remedy=remedy))
    if not found or classes is None:
        return None, splits
    heights, widths = ({images.shape[axis] for images in found} for axis in (0, 1))
    return Facts(classes, spacing, (max(heights), max(widths), found[0].shape[2])), splits


def wrong_ids_remedy(path: Path, outside: Sequence[int], binary: bool) -> str:
    """The command that mends masks with ids that are no classes."""
    out = path.with_name(path.stem + "-remapped" + path.suffix)
    command = f"python -m segframe data remap {shlex.quote(str(path))} {shlex.quote(str(out))}"
    if binary:
        return f"{command} --map 255=1"
    if list(outside) == [255]:
        return (
            f"If 255 marks unknown pixels: {command} --ignore 255. If it is a class: {command} --map 255=ID"
        )
    maps = " ".join(f"--map {value}=ID" for value in outside[:3])
    return f"{command} {maps}{' ...' * (len(outside) > 3)}, or set the file's num_classes and class_names."


def _check_alike(found: Iterable[Images], named: str, fault: Fault) -> None:
    kinds: dict[tuple[int, str], str] = {}
    for images in found:
        kinds.setdefault((images.shape[2], images.dtype), images.where.removeprefix(f"{named}, /"))
    if len(kinds) > 1:
        channels = sorted({channels for channels, _ in kinds})
        fault(
            SegframeError(
                f"{named}, images",
                expected="one number of channels and one dtype in all samples",
                got=f"{channels} channels, {', '.join(f'{at} {dtype}' for (_, dtype), at in kinds.items())}",
                remedy="Write the file again with images alike.",
            )
        )


def _check_once(splits: Mapping[str, Split], named: str, fault: Fault) -> None:
    """No id twice, no group in two splits."""
    seen: dict[str, str] = {}
    owner: dict[str, str] = {}
    for split in splits.values():
        for sample in split.ids:
            if sample in seen:
                places = split.name if seen[sample] == split.name else f"{seen[sample]} and {split.name}"
                remedy = "Give each sample its own name; a sample in two splits makes scores worthless."
                fault(
                    SegframeError(
                        f"{named}, ids",
                        expected="unique names",
                        got=f"{sample!r} twice in {places}",
                        remedy=remedy,
                    )
                )
            seen[sample] = split.name
        shared = {group: owner[group] for group in split.groups if owner.get(group, split.name) != split.name}
        for group, other in shared.items():
            fault(
                SegframeError(
                    f"{named}, groups",
                    expected="each group in one split",
                    got=f"{group!r} in {other} and {split.name}",
                    remedy="Move all its samples to one of the two.",
                )
            )
        owner |= {group: split.name for group in split.groups if group not in shared}
