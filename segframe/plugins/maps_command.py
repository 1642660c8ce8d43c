"""The verb `maps`: make the maps of a data file before a run does, see what is kept, throw it away."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path

from segframe.errors import SegframeError
from segframe.hooks import hookimpl
from segframe.verb_parser import VerbParser

log = logging.getLogger("segframe")

PROGRAM = "python -m segframe maps"


@hookimpl
def segframe_commands():
    return {"maps": ("make, list and clear the kept maps of masks (distances, ...)", run)}


def run(argv: list[str]) -> int:
    """`maps build`, `maps list` or `maps clear`; returns the exit code."""
    words = _parser().parse_args(argv)
    words.act(words)
    return 0


def _build(words: argparse.Namespace) -> None:
    from segframe.catalog import build, catalog
    from segframe.loss_maps import makers
    from segframe.manager import plugin_manager
    from segframe.map_store import KeptMaps

    plugins = plugin_manager()
    names = words.maps.split(",") if words.maps else sorted(catalog(plugins, "map"))
    dataset = build(plugins, "dataset", {"name": "hdf5", "path": str(words.file)})
    for name, maker in makers(plugins, names, dataset, "--maps").items():
        kept = KeptMaps(name, maker, dataset, check=True)
        if kept.file is None:
            raise SegframeError(
                f"the maps {name!r}",
                expected="a cache folder that they can be kept in",
                got="the fault above",
                remedy="Name another one: export SEGFRAME_CACHE=/some/folder",
            )
        found, size = len(kept.file.checksums), _megabytes(kept.path)
        log.info("%s: maps of %d different masks, whole and checked, %s: %s", name, found, size, kept.path)


def _list(words: argparse.Namespace) -> None:
    from segframe.map_file import Damaged, MapFile

    total = 0
    for path in _files(words.maps):
        try:
            about = MapFile(path).about
            what = f"{about['maps']:28}{about['samples']:7} samples  {about['made']}  of {about['of']}"
        except Damaged as error:
            what = f"damaged: {error}"
        except FileNotFoundError:  # cleared meanwhile
            continue
        total += path.stat().st_size
        print(f"{_megabytes(path):>12}  {what}")
    print(f"{total / 1e6:9.1f} MB  in all; python -m segframe maps clear removes them")


def _clear(words: argparse.Namespace) -> None:
    from segframe.cache import clear

    freed = clear(_files(words.maps))
    print(f"removed {freed / 1e6:.1f} MB; the maps are made again when a run needs them")


def _files(names: str | None) -> Iterator[Path]:
    """The files that are kept, of these makers."""
    from segframe.cache import cache_folder

    for path in sorted((cache_folder() / "maps").glob("*.h5")):
        of = path.name.rsplit("-", 2)[0]
        if not path.name.startswith(".") and (names is None or of in names.split(",")):
            yield path


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"


def _parser() -> argparse.ArgumentParser:
    parser = VerbParser(prog=PROGRAM, description=__doc__)
    verbs = parser.add_subparsers(metavar="build|list|clear", required=True)
    make = verbs.add_parser("build", help="make the maps of a data file, or check those that are kept")
    make.add_argument("file", type=Path, metavar="FILE.h5")
    show = verbs.add_parser("list", help="what is kept: size, map, of which data")
    clear = verbs.add_parser("clear", help="remove it; runs make it again")
    for verb, act in ((make, _build), (show, _list), (clear, _clear)):
        verb.add_argument("--maps", metavar="NAME,...", help="only these (default: all)")
        verb.set_defaults(act=act)
    return parser
