"""The verb `cache`: the decoded samples that device.cache=disk keeps: see them, throw them away."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path

from segframe.hooks import hookimpl
from segframe.verb_parser import VerbParser


@hookimpl
def segframe_commands():
    return {"cache": ("list and clear the decoded samples that device.cache=disk keeps", run)}


def run(argv: list[str]) -> int:
    """`cache list` or `cache clear`; returns the exit code."""
    _parser().parse_args(argv).act()
    return 0


def _list() -> None:
    from segframe.sample_file import Damaged, SampleFile

    total = 0
    for path in _files():
        with contextlib.suppress(FileNotFoundError):  # cleared meanwhile
            size = path.stat().st_size
            try:
                about = SampleFile(path).about
                what = f"{about['samples']:7} samples  {about['made']}  of {about['of']}"
            except Damaged as error:
                what = f"damaged: {error}"
            total += size
            print(f"{size / 1e6:9.1f} MB  {what}")
    print(f"{total / 1e6:9.1f} MB  in all; python -m segframe cache clear removes them")


def _clear() -> None:
    from segframe.cache import clear

    print(f"removed {clear(_files()) / 1e6:.1f} MB; the samples are decoded again when a run keeps them")


def _files() -> Iterator[Path]:
    from segframe.cache import cache_folder

    return (path for path in sorted((cache_folder() / "samples").glob("*.samples")) if path.name[0] != ".")


def _parser() -> argparse.ArgumentParser:
    parser = VerbParser(prog="python -m segframe cache", description=__doc__)
    verbs = parser.add_subparsers(metavar="list|clear", required=True)
    verbs.add_parser("list", help="what is kept: size, samples, of which data").set_defaults(act=_list)
    verbs.add_parser("clear", help="remove it; a run that uses it goes on").set_defaults(act=_clear)
    return parser
