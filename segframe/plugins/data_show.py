"""`data show`: what a file holds, as a table or as JSON, and a contact sheet."""

from __future__ import annotations

import json
import logging
import shlex
from pathlib import Path
from typing import Any

from segframe.errors import SegframeError
from segframe.plugins.contact_sheet import chosen, contact_sheet
from segframe.plugins.data_words import shown
from segframe.plugins.fingerprint import fingerprint
from segframe.plugins.hdf5 import open_hdf5
from segframe.plugins.near_duplicates import check_threshold

log = logging.getLogger("segframe")

NEAR_SHOWN = 10


def show(path: Path, *, as_json: bool, sheet: Path | None, samples: int, distance: int | None) -> int:
    """Print the fingerprint and write the sheet; returns the exit code.

    Raises:
        SegframeError: the file cannot be read, or the sheet not written.
    """
    if samples < 0:
        raise SegframeError("--samples", expected="0 or more", got=str(samples), remedy="0 makes no picture.")
    if distance is not None:
        check_threshold(distance)
    dataset = open_hdf5(path=str(path))
    try:
        try:
            facts = {"file": str(path), "bytes": path.stat().st_size} | fingerprint(dataset, distance, shown)
        except SegframeError:
            log.info("All faults at once: python -m segframe data check %s", shlex.quote(str(path)))
            raise
        print(json.dumps(facts, indent=1, ensure_ascii=False) if as_json else as_text(facts))
        if samples:
            target = sheet or Path(f"{path.stem}-sheet.png")
            try:
                contact_sheet(target, dataset, chosen(dataset, samples))
            except OSError as error:
                remedy = "Name another place, --sheet PNG, or none, --samples 0."
                raise SegframeError(
                    f"file {target}", expected="a place to write", got=str(error), remedy=remedy
                ) from error
            log.info("samples with their masks: %s", target)
    finally:
        dataset.close()
    return 0


def as_text(facts: dict[str, Any]) -> str:
    """Tables for a terminal."""
    spacing = (
        "x".join(f"{part:g}" for part in facts["spacing_mm"]) + " mm" if facts["spacing_mm"] else "not said"
    )
    lines = [
        f"{facts['file']}: {facts['bytes'] / 1e6:.1f} MB, {facts['channels']} channels {facts['dtype']}, "
        f"{len(facts['class_names'])} classes, spacing {spacing}",
    ]
    for name, split in facts["splits"].items():
        lines += ["", *_split(name, split)]
    lines += ["", *_twice(facts)]
    return "\n".join(lines)


def _split(name: str, split: dict[str, Any]) -> list[str]:
    sizes = [f"{size} ({count})" for size, count in list(split["sizes"].items())[:6]]
    more = f" and {len(split['sizes']) - 6} other sizes" if len(split["sizes"]) > 6 else ""
    groups = f", {split['groups']} groups" if split["groups"] != split["samples"] else ""
    void = f", void {100 * split['void_share']:.1f} %" if split["void_share"] else ""
    lines = [
        f"{name}: {split['samples']} samples{groups}; sizes {', '.join(sizes)}{more}",
        f"  foreground {100 * split['foreground_share']:.1f} % of valid pixels{void}",
    ]
    intensity = split["intensity"]
    for channel in range(len(intensity["mean"])):
        low, high, mean, std = (intensity[key][channel] for key in ("min", "max", "mean", "std"))
        lines.append(f"  channel {channel}: mean {mean:.4g}, std {std:.4g}, {low:.4g} to {high:.4g}")
    width = max(len("class"), *(len(class_name) for class_name in split["classes"]))
    lines.append(f"  {'class':{width}}  % of pixels  in images  pieces per image")
    for class_name, found in split["classes"].items():
        pieces = found["components_per_image"]
        each = f"{pieces:16.1f}" if pieces is not None else f"{'-':>16}"
        lines.append(f"  {class_name:{width}}  {100 * found['share']:11.2f}  {found['images']:9}  {each}")
    return lines


def _twice(facts: dict[str, Any]) -> list[str]:
    lines = [f"the same image: {', '.join(names)}" for names in facts["duplicates"][:NEAR_SHOWN]]
    if len(facts["duplicates"]) > NEAR_SHOWN:
        lines.append(f"  and {len(facts['duplicates']) - NEAR_SHOWN} more; --json lists all")
    for across, words in ((True, "nearly the same image in two splits"), (False, "nearly the same image")):
        pairs = [pair for pair in facts["near_duplicates"] if pair["across"] == across]
        for pair in pairs[:NEAR_SHOWN]:
            lines.append(f"{words}: {', '.join(pair['samples'])} ({pair['bits']} of 256 bits differ)")
        if len(pairs) > NEAR_SHOWN:
            lines.append(f"  and {len(pairs) - NEAR_SHOWN} more; --json lists all")
    return lines or ["no image is there twice, or nearly so"]
