"""The words of `data import`, and which of them do not go together."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from segframe.errors import SegframeError
from segframe.plugins.data_words import class_names, mapping

SHARES = "0.7/0.1/0.2"

DESCRIPTION = """PNG, JPEG, TIFF (8 and 16 bits, several pages), BMP and GIF. Images and masks of one name
belong together; the pixels of masks are class ids. Folders IMAGES/train, IMAGES/test, ... are the splits."""


def add_import(verbs: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """The parser of `data import`."""
    bring = verbs.add_parser(
        "import",
        help="folders of images and masks -> HDF5",
        description=DESCRIPTION,
    )
    bring.add_argument("images", type=Path, help="folder of images")
    bring.add_argument("masks", type=Path, help="folder of masks; may be the same")
    bring.add_argument("out", type=Path, metavar="OUT.h5")
    option = bring.add_argument
    option(
        "--mask-name",
        default="NAME",
        metavar="PATTERN",
        help="NAME_mask: cell1.png has cell1_mask.png; NAME_inst*: several",
    )
    option(
        "--image-name",
        default="NAME",
        metavar="PATTERN",
        help="the same for the images' files (default NAME)",
    )
    option(
        "--map",
        type=mapping,
        action="append",
        default=[],
        metavar="OLD=NEW",
        help="as in 255=1; again for more",
    )
    option(
        "--colours",
        nargs="+",
        metavar="NAME=R,G,B",
        help="classes of colour masks, in the order of their ids; or a CSV file",
    )
    option("--instances", metavar="CLASS", help="masks number their objects: all of them are this class")
    option("--threshold", type=int, metavar="VALUE", help="grey masks: from this value on class 1")
    option("--class-names", type=class_names, metavar="A,B,...", help="in the order of the ids")
    option("--ignore", metavar="ID|NAME", help="pixels of this id (after --map) or class are void")
    option(
        "--bits",
        type=int,
        metavar="N",
        help="full scale of images of more than 8 bits is 2**N - 1 (default 16)",
    )
    option("--spacing", type=_spacing, metavar="ROW,COLUMN", help="distance of pixel centres in mm")
    option(
        "--split",
        type=fractions,
        metavar="TRAIN/VAL/TEST",
        help=f"shares, or TRAIN/TEST (default {SHARES})",
    )
    option("--seed", type=int, help="another one splits otherwise (default 0)")
    option(
        "--groups",
        metavar="CSV|REGEX",
        help="what must not be split: lines sample,group, or '^(patient[0-9]+)_'",
    )
    option(
        "--workers", type=int, default=os.cpu_count() or 1, help="threads that decode (default: one per core)"
    )
    option("--force", action="store_true", help="replace an existing OUT")
    return bring


def check_words(words: argparse.Namespace) -> None:
    """Ways to read masks that say different things of one pixel are not mixed."""
    given = [
        option
        for option, value in (
            ("--map", words.map),
            ("--colours", words.colours),
            ("--instances", words.instances),
            ("--threshold", words.threshold is not None),
        )
        if value
    ]
    if len(given) > 1:
        got = " and ".join(given)
        raise SegframeError(
            "masks", expected="one way to read them", got=got, remedy="Leave all but one away."
        )
    if words.colours and words.class_names:
        remedy = "The names are those of --colours; leave --class-names away."
        raise SegframeError("--class-names", expected="one list of names", got="two", remedy=remedy)
    if words.bits is not None and not 1 <= words.bits <= 32:
        raise SegframeError("--bits", expected="1 to 32", got=str(words.bits), remedy="As in --bits 12")
    if words.workers < 1:
        got, remedy = str(words.workers), "Leave it away: one per core."
        raise SegframeError("--workers", expected="a number of threads above 0", got=got, remedy=remedy)


def check_split_words(words: argparse.Namespace, folders: bool) -> None:
    if folders and (words.split is not None or words.seed is not None):
        got = "--split or --seed, and folders train, val or test"
        remedy = "Leave --split and --seed away: the folders are the splits."
        raise SegframeError("--split", expected="one way to split", got=got, remedy=remedy)


def _spacing(text: str) -> tuple[float, float]:
    try:
        row, column = (float(part) for part in text.split(","))
    except ValueError:
        row = column = 0.0
    if not 0 < row < float("inf") or not 0 < column < float("inf"):
        raise argparse.ArgumentTypeError(f"expected two positive numbers, as in 0.5,0.5, got {text!r}")
    return row, column


def fractions(text: str) -> dict[str, float]:
    try:
        shares = [float(part) for part in text.split("/")]
    except ValueError:
        shares = []
    names = {2: ("train", "test"), 3: ("train", "val", "test")}.get(len(shares), ())
    right = names and all(0 <= share <= 1 for share in shares) and abs(sum(shares) - 1) < 1e-6
    if not right or shares[0] == 0:
        raise argparse.ArgumentTypeError(f"expected shares that sum to 1, as in 0.7/0.1/0.2, got {text!r}")
    return dict(zip(names, shares, strict=True))
