"""A comparison as JSON, with everything in it, and as CSV, for a spreadsheet."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from segframe.atomic import replacing, writable

REMEDY = "Name a file in a folder that is there and has room."


def write_json(found: Mapping[str, Any], path: Path | None) -> None:
    """To a file, or to stdout.

    Raises:
        SegframeError: the file cannot be written.
    """
    text = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    if path is None:
        sys.stdout.write(text)
        return
    with writable(str(path), REMEDY), replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_csv(found: Mapping[str, Any], path: Path | None) -> None:
    """One line for each recipe or model, what they differ in as columns; to a file, or to stdout.

    Raises:
        SegframeError: the file cannot be written.
    """
    lines = [_flat(row) for row in found.get("recipes") or found["models"]]
    if path is None:
        _write_csv(lines, sys.stdout)
        return
    with (
        writable(str(path), REMEDY),
        replacing(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        _write_csv(lines, file)


def _write_csv(lines: Sequence[Mapping[str, Any]], file: TextIO) -> None:
    keys = dict.fromkeys(key for line in lines for key in line)
    writer = csv.DictWriter(file, list(keys), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if key == "ranks":
            flat |= dict(zip(("best_rank", "worst_rank"), value or (None, None), strict=True))
        elif key in ("runs", "unfinished"):
            flat[key] = len(value)
        elif key in ("differs", "cost"):
            flat |= value
        elif key in ("val", "test"):
            flat |= {f"{key}_{name}": number for name, number in (value or {}).items()}
        else:
            flat[key] = value
    return flat
