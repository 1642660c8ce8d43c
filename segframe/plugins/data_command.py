"""The verb `data`: bring images in, mend masks."""

from __future__ import annotations

import argparse
import logging
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from segframe.errors import SegframeError
from segframe.hooks import hookimpl
from segframe.verb_parser import VerbParser

log = logging.getLogger("segframe")

PROGRAM = "python -m segframe data"


@hookimpl
def segframe_commands():
    return {"data": ("import and remap data sets", run)}


def run(argv: list[str]) -> int:
    """`data import` or `data remap`; returns the exit code."""
    words = _parser().parse_args(argv)
    words.argv = argv
    if words.out.exists() and not words.force:
        raise SegframeError(
            f"file {words.out}",
            expected="a new file",
            got="one that is there already",
            remedy="Choose another name, or replace it with --force.",
        )
    if not words.out.absolute().parent.is_dir():
        raise SegframeError(
            f"file {words.out}",
            expected="a folder to write it to",
            got=f"no folder {words.out.parent}",
            remedy=f"mkdir -p {shlex.quote(str(words.out.parent))}",
        )
    words.act(words)
    return 0


def _import(words: argparse.Namespace) -> None:
    import numpy as np

    from segframe.plugins.hdf5_facts import default_names
    from segframe.plugins.hdf5_writer import writing
    from segframe.plugins.import_images import find_pairs, read_image, read_mask, split_of, survey

    pairs = find_pairs(words.images, words.masks)
    table = np.arange(256, dtype=np.uint8)
    for old, new in _table(words.map).items():
        if 0 <= old <= 255:  # PNG masks have no other ids
            table[old] = new
    seen = survey(pairs, table, _shown)
    names = words.class_names or default_names(max(_classes(seen.first_with, words.ignore), default=0) + 1)
    _check_ids(seen.first_with, names, words)
    if not words.class_names:
        log.info("no --class-names: the classes are called %s", ", ".join(names))
    splits = split_of([pair.name for pair in pairs], words.split, words.seed)
    count = {split: list(splits.values()).count(split) for split in words.split}
    log.info("split %s, seed %d", ", ".join(f"{n} {split}" for split, n in count.items()), words.seed)
    if len(seen.sizes) > 1:
        log.info("images of %d sizes: each sample becomes a dataset of its own", len(seen.sizes))
    with writing(words.out, per_sample=len(seen.sizes) > 1) as writer:
        for pair in _shown(pairs, "writing"):
            image = read_image(pair.image, seen.colour)
            writer.add(splits[pair.name], pair.name, image, table[read_mask(pair.mask)])
        writer.set({"class_names": names, "num_classes": len(names), "ignore_index": words.ignore})
        writer.set({"source": f"{words.images.resolve()} and {words.masks.resolve()}"})
    log.info("wrote %s: %d samples, %d classes", words.out, len(pairs), len(names))
    log.info("python -m segframe dataset=hdf5 dataset.path=%s", shlex.quote(str(words.out)))


def _classes(ids: Iterable[int], ignore: int | None) -> list[int]:
    return sorted(value for value in ids if value != ignore)


def _check_ids(first_with: dict[int, str], names: Sequence[str], words: argparse.Namespace) -> None:
    """Ids are those of the class names, or, where nobody named the classes, have no gap."""
    ids = _classes(first_with, words.ignore)
    command = " ".join([PROGRAM, *map(shlex.quote, words.argv)])
    found = ", ".join(map(str, ids[:10])) + ", ..." * (len(ids) > 10)
    if ids in ([], [0]):
        got = "background only" if ids else "void pixels only"
        remedy = f"Check that {words.masks} is the folder of the masks."
        raise SegframeError("masks", expected="pixels of a class", got=got, remedy=remedy)
    if words.class_names:
        outside = [value for value in ids if value >= len(names)]
    else:
        outside = [value for value in ids if value > len([i for i in ids if 0 < i <= value])]
    if not outside:
        return
    free = [value for value in range(1, 256) if value not in ids]
    fits = [value for value in free if not words.class_names or value < len(names)]
    targets = [str(new) for new in fits[: len(outside)]] + ["ID"] * max(0, len(outside) - len(fits))
    maps = " ".join(f"--map {old}={new}" for old, new in zip(outside[:4], targets, strict=False))
    remedy = f"{command} {maps}{' ...' * (len(outside) > 4)}"
    if not words.class_names and ids != [0, 255]:
        remedy += "\n  or name every class, in the order of the ids: --class-names background,..."
    raise SegframeError(
        f"masks (sample {first_with[outside[0]]!r})",
        expected=f"ids below {len(names)}" if words.class_names else "class ids 0, 1, 2, ... without a gap",
        got=f"ids {found}",
        remedy=remedy,
    )


def _remap(words: argparse.Namespace) -> None:
    from segframe.plugins.remap import remap

    if words.out.exists() and words.out.samefile(words.file):
        remedy = "Write to another name."
        raise SegframeError(f"file {words.out}", expected="another file", got="the same one", remedy=remedy)
    found = remap(
        words.file,
        words.out,
        table=_table(words.map),
        class_names=words.class_names,
        ignore=words.ignore,
        to_float32=words.images == "float32",
        shown=_shown,
    )
    log.info("wrote %s: its masks have the ids %s", words.out, ", ".join(map(str, sorted(found))))


def _shown(items: Iterable, what: str) -> Iterable:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(items, what, console=console, disable=not console.is_terminal, transient=True)


def _table(maps: Sequence[tuple[int, int]]) -> dict[int, int]:
    table: dict[int, int] = {}
    for old, new in maps:
        if table.setdefault(old, new) != new:
            got = f"{old}={table[old]} and {old}={new}"
            raise SegframeError("--map", expected="one new id for each id", got=got, remedy="Drop one.")
    return table


def _parser() -> argparse.ArgumentParser:
    parser = VerbParser(prog=PROGRAM, description="Import images and masks; mend masks.")
    verbs = parser.add_subparsers(metavar="import|remap", required=True)
    bring = verbs.add_parser("import", help="PNG folders -> HDF5", description="PNG folders -> HDF5.")
    bring.add_argument("images", type=Path, help="folder of PNG images")
    bring.add_argument("masks", type=Path, help="folder of PNG masks of the same names; pixels are class ids")
    bring.add_argument("out", type=Path, metavar="OUT.h5")
    bring.add_argument(
        "--split", type=_fractions, default="0.7/0.1/0.2", metavar="TRAIN/VAL/TEST",
        help="shares, or TRAIN/TEST (default 0.7/0.1/0.2)",
    )  # fmt: skip
    bring.add_argument("--seed", type=int, default=0, help="another one splits otherwise (default 0)")
    bring.set_defaults(act=_import)
    mend = verbs.add_parser("remap", help="HDF5 -> HDF5, ids changed", description="Copy, mask ids changed.")
    mend.add_argument("file", type=Path, metavar="FILE")
    mend.add_argument("out", type=Path, metavar="OUT")
    mend.add_argument("--images", choices=["float32"], help="convert images; integers are scaled to 0..1")
    mend.set_defaults(act=_remap)
    for verb in (bring, mend):
        verb.add_argument("--map", type=_mapping, action="append", default=[], metavar="OLD=NEW")
        verb.add_argument("--class-names", type=_names, metavar="A,B,...", help="in the order of the ids")
        verb.add_argument("--ignore", type=_id, metavar="ID", help="pixels of this id (after --map) are void")
        verb.add_argument("--force", action="store_true", help="replace an existing OUT")
    return parser


def _mapping(text: str) -> tuple[int, int]:
    old, equals, new = text.partition("=")
    if not equals or not old.lstrip("-").isdigit():
        raise argparse.ArgumentTypeError(f"expected OLD=NEW, as in 255=1, got {text!r}")
    return int(old), _id(new)


def _id(text: str) -> int:
    if not text.isdigit() or int(text) > 255:
        raise argparse.ArgumentTypeError(f"expected an id of 0 to 255, got {text!r}")
    return int(text)


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names) or len(set(names)) < len(names) or len(names) < 2:
        raise argparse.ArgumentTypeError(f"expected two or more different names, got {text!r}")
    return names


def _fractions(text: str) -> dict[str, float]:
    try:
        shares = [float(part) for part in text.split("/")]
    except ValueError:
        shares = []
    names = {2: ("train", "test"), 3: ("train", "val", "test")}.get(len(shares), ())
    right = names and all(0 <= share <= 1 for share in shares) and abs(sum(shares) - 1) < 1e-6
    if not right or shares[0] == 0:
        raise argparse.ArgumentTypeError(f"expected shares that sum to 1, as in 0.7/0.1/0.2, got {text!r}")
    return dict(zip(names, shares, strict=True))
