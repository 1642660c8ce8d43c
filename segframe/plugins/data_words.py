"""What the words of several `data` verbs mean."""

from __future__ import annotations

import argparse
import csv
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from segframe.errors import SegframeError

PROGRAM = "python -m segframe data"


def shown(items: Iterable, what: str, total: int | None = None) -> Iterable:
    """The items, with a progress bar where somebody watches."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(items, what, total, console=console, disable=not console.is_terminal, transient=True)


def check_out(out: Path, force: bool) -> None:
    """Raises SegframeError: there is such a file, or no folder for it."""
    if out.exists() and not force:
        raise SegframeError(
            f"file {out}",
            expected="a new file",
            got="one that is there already",
            remedy="Choose another name, or replace it with --force.",
        )
    if not out.absolute().parent.is_dir():
        raise SegframeError(
            f"file {out}",
            expected="a folder to write it to",
            got=f"no folder {out.parent}",
            remedy=f"mkdir -p {shlex.quote(str(out.parent))}",
        )


def csv_lines(path: Path, option: str, remedy: str) -> list[list[str]]:
    """The lines of a CSV file that are not empty.

    Raises:
        SegframeError: of `option`, with `remedy`: there is no such file, or it is none of text.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            return [line for line in csv.reader(file) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SegframeError(
            f"{option} {path}", expected="a CSV file", got=str(error), remedy=remedy
        ) from error


def mapping(text: str) -> tuple[int, int]:
    """OLD=NEW"""
    old, equals, new = text.partition("=")
    if not equals or not old.removeprefix("-").isdigit():
        raise argparse.ArgumentTypeError(f"expected OLD=NEW, as in 255=1, got {text!r}")
    return int(old), class_id(new)


def mapping_table(maps: Sequence[tuple[int, int]]) -> dict[int, int]:
    """{old: new} of all --map words."""
    table: dict[int, int] = {}
    for old, new in maps:
        if table.setdefault(old, new) != new:
            got = f"{old}={table[old]} and {old}={new}"
            raise SegframeError("--map", expected="one new id for each id", got=got, remedy="Drop one.")
    return table


def class_id(text: str) -> int:
    """0 to 255."""
    if not text.isdigit() or int(text) > 255:
        raise argparse.ArgumentTypeError(f"expected an id of 0 to 255, got {text!r}")
    return int(text)


def class_names(text: str) -> list[str]:
    """A,B,..."""
    names = [name.strip() for name in text.split(",")]
    if not all(names) or len(set(names)) < len(names) or len(names) < 2:
        raise argparse.ArgumentTypeError(f"expected two or more different names, got {text!r}")
    return names
