"""The verb `data`: bring images in and out, check them, look at them, mend masks."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from segframe.errors import SegframeError
from segframe.hooks import hookimpl
from segframe.plugins.data_words import (
    PROGRAM,
    check_out,
    class_id,
    class_names,
    mapping,
    mapping_table,
    shown,
)
from segframe.plugins.import_words import add_import
from segframe.verb_parser import VerbParser

log = logging.getLogger("segframe")


@hookimpl
def segframe_commands():
    return {"data": ("import, check, show, export and remap data sets", run)}


def run(argv: list[str]) -> int:
    """`data import`, `check`, `show`, `export` or `remap`; returns the exit code."""
    words = _parser().parse_args(argv)
    words.argv = argv
    if hasattr(words, "out"):
        check_out(words.out, words.force)
    return words.act(words)


def _import(words: argparse.Namespace) -> int:
    from segframe.plugins.import_command import bring_in

    return bring_in(words)


def _remap(words: argparse.Namespace) -> int:
    from segframe.plugins.remap import remap

    if words.out.exists() and words.out.samefile(words.file):
        remedy = "Write to another name."
        raise SegframeError(f"file {words.out}", expected="another file", got="the same one", remedy=remedy)
    found = remap(
        words.file,
        words.out,
        table=mapping_table(words.map),
        class_names=words.class_names,
        ignore=words.ignore,
        to_float32=words.images == "float32",
        shown=shown,
    )
    log.info("wrote %s: its masks have the ids %s", words.out, ", ".join(map(str, sorted(found))))
    return 0


def _check(words: argparse.Namespace) -> int:
    from segframe.plugins.data_check import check

    return check(words.file, as_json=words.json)


def _show(words: argparse.Namespace) -> int:
    from segframe.plugins.data_show import show

    return show(
        words.file, as_json=words.json, sheet=words.sheet, samples=words.samples, distance=words.distance
    )


def _export(words: argparse.Namespace) -> int:
    from segframe.plugins.data_export import export

    export(words.file, words.folder, shown)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = VerbParser(
        prog=PROGRAM, description="Data sets: bring them in, check them, look at them, mend them."
    )
    verbs = parser.add_subparsers(metavar="import|check|show|export|remap", required=True)
    add_import(verbs).set_defaults(act=_import)
    test = verbs.add_parser(
        "check", help="all faults of a file at once", description="Exit code 0: it has none; 2: it has."
    )
    test.set_defaults(act=_check)
    look = verbs.add_parser("show", help="what a file holds, and a picture of it")
    look.add_argument(
        "--sheet",
        type=Path,
        metavar="PNG",
        help="samples with their masks laid over (default FILE-sheet.png)",
    )
    look.add_argument(
        "--samples", type=int, default=24, help="how many are on it (default 24; 0: no picture)"
    )
    look.add_argument(
        "--distance", type=int, default=None, metavar="BITS", help="near-duplicates differ in at most this"
    )
    look.set_defaults(act=_show)
    bring_out = verbs.add_parser("export", help="HDF5 -> folders of images and masks")
    bring_out.set_defaults(act=_export)
    mend = verbs.add_parser("remap", help="HDF5 -> HDF5, ids changed", description="Copy, mask ids changed.")
    for verb in (test, look, bring_out, mend):
        verb.add_argument("file", type=Path, metavar="FILE")
    for verb in (test, look):
        verb.add_argument("--json", action="store_true", help="for programs")
    bring_out.add_argument(
        "folder", type=Path, metavar="DIR", help="a new one: DIR/images/SPLIT, DIR/masks/SPLIT"
    )
    mend.add_argument("out", type=Path, metavar="OUT")
    mend.add_argument("--images", choices=["float32"], help="convert images; integers are scaled to 0..1")
    mend.add_argument("--map", type=mapping, action="append", default=[], metavar="OLD=NEW")
    mend.add_argument("--class-names", type=class_names, metavar="A,B,...", help="in the order of the ids")
    mend.add_argument(
        "--ignore", type=class_id, metavar="ID", help="pixels of this id (after --map) are void"
    )
    mend.add_argument("--force", action="store_true", help="replace an existing OUT")
    mend.set_defaults(act=_remap)
    return parser
