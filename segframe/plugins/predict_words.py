"""The command line of `predict`."""

from __future__ import annotations

import argparse
from pathlib import Path

from segframe.plugins.data_words import class_id, mapping
from segframe.plugins.turned_views import VIEWS
from segframe.verb_parser import VerbParser

PROGRAM = "python -m segframe predict"


def parser() -> argparse.ArgumentParser:
    found = VerbParser(
        prog=PROGRAM,
        description="Masks of images by the network of a finished run. Exit code 1: some images failed.",
    )
    add = found.add_argument
    add("run", metavar="RUN", help="a run's folder, its model.weights.h5, or its id in MLflow")
    add("images", metavar="IMAGES", nargs="+", help="folders, image files, globs in quotes, HDF5 files")
    add("out", type=Path, metavar="OUT", help="a folder for OUT/NAME.png, or a file OUT.h5")
    add("--split", dest="splits", type=_names, metavar="NAME,...", help="of HDF5 files (default: all)")
    add(
        "--save",
        choices=["palette", "grey", "colours"],
        default="palette",
        help="masks as 8-bit palette PNG whose indices are the ids (default), ids as grey values, or RGB",
    )
    add("--overlays", action="store_true", help="also OUT/overlays/NAME.png")
    add("--probabilities", action="store_true", help="also OUT/probabilities/NAME.npy, float16")
    add("--tile", type=_tile, metavar="PIXELS|auto", default=None, help="cut larger images (default: auto)")
    add("--overlap", type=_overlap, help="share of a tile that the next one covers (the run's; else 0.25)")
    add("--tta", choices=sorted(VIEWS), default="none", help="average over flips, turns, or both (all)")
    add("--masks", type=Path, metavar="DIR", help="true masks by the images' names: adds scores")
    add("--map", type=mapping, action="append", default=[], metavar="OLD=NEW", help="ids of --masks")
    add("--ignore", type=class_id, metavar="ID", help="pixels of --masks with this id count nowhere")
    add("--force", action="store_true", help="write anew what is there")
    add("--runs-dir", type=Path, default=Path("runs"), help="where a run's id is sought (runs)")
    add("--uri", help="the MLflow store where a run's id is sought")
    return found


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _tile(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdigit() or int(text) < 16:
        raise argparse.ArgumentTypeError(f"expected auto or at least 16, got {text!r}")
    return int(text)


def _overlap(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 0.9:
        raise argparse.ArgumentTypeError(f"expected 0 to 0.9, got {text!r}")
    return value
