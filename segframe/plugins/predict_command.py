"""The verb `predict`: masks of images by the network of a finished run."""

from __future__ import annotations

import argparse
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segframe.errors import SegframeError
from segframe.hooks import hookimpl
from segframe.plugins.predict_sources import HDF5_ENDINGS

if TYPE_CHECKING:
    from segframe.plugins.predict_outputs import Outputs
    from segframe.plugins.predict_sources import Found, Item

log = logging.getLogger("segframe")


@hookimpl
def segframe_commands():
    return {"predict": ("masks of images by the network of a finished run", run)}


def run(argv: list[str]) -> int:
    """Exit code 1 if an image could not be predicted or scored.

    Raises:
        SegframeError: the run or an input is not there, or OUT has something else.
    """
    from segframe.plugins.predict_words import parser

    words = parser().parse_args(argv)
    if words.masks and not words.masks.is_dir():
        remedy = "Check the path."
        raise SegframeError(f"--masks {words.masks}", expected="a folder", got="none", remedy=remedy)
    from segframe.load_model import stored_facts
    from segframe.plugins.predict_outputs import Outputs, Wanted
    from segframe.plugins.predict_run import sha256, weights_of
    from segframe.plugins.predict_sources import find_items

    weights = weights_of(words.run, words.runs_dir, words.uri)
    stored = stored_facts(weights)
    facts = {
        "run": weights.absolute().parent.name,
        "weights_sha256": sha256(weights),
        "class_names": stored["class_names"],
        "tile": words.tile or "auto",
        "overlap": words.overlap,
        "tta": words.tta,
        "save": words.save,
    }
    found = find_items(words.images, words.splits)
    packing = words.out.suffix.lower() in HDF5_ENDINGS
    if packing and _is_packed(words, facts, found):
        return 0
    folder = words.out.with_name(f"{words.out.name}.parts") if packing else words.out
    wanted = Wanted(words.save, words.overlays, words.probabilities)
    outputs = Outputs(folder, facts, stored["class_names"], wanted)
    outputs.check(found.items, words.force)
    with outputs.lock():
        outputs.prepare(found.items, words.force)
        failed = found.failed | _predict(words, weights, stored, outputs, found.items)
        done = [item for item in found.items if item.where not in failed]
        if packing and done:
            from segframe.plugins.predict_pack import pack

            pack(words.out, outputs, done)
        failed |= _score(words, stored, outputs, done)
        outputs.tell(failed)
    log.info("%s: %d of %d images", words.out, len(done), len(found.items) + len(found.failed))
    if packing and done and not failed:
        shutil.rmtree(folder)
    for where, reason in failed.items():
        log.warning("failed: %s: %s", where, reason)
    if failed:
        log.warning("%d failed: mend them and give the same command again", len(failed))
    return 1 if failed else 0


def _is_packed(words: argparse.Namespace, facts: dict[str, Any], found: Found) -> bool:
    """Whether OUT.h5 is there already, whole and of the same; raises SegframeError if it is another."""
    from segframe.plugins.predict_pack import packed

    if not words.out.exists() or words.force:
        return False
    made_of, whole = packed(words.out, facts, found.items)
    if made_of and whole and not found.failed:
        log.info("%s is there already, with these %d images", words.out, len(found.items))
        return True
    if made_of:  # of an earlier call in which some failed: the parts are there still
        return False
    remedy = "Name another OUT, or replace it with --force."
    raise SegframeError(f"file {words.out}", expected="a new file", got="one that is there", remedy=remedy)


def _predict(
    words: argparse.Namespace,
    weights: Path,
    stored: dict[str, Any],
    outputs: Outputs,
    items: Sequence[Item],
) -> dict[str, str]:
    """Write what is not there yet; {where: what is wrong} of those that fail."""
    missing = {item.name for item in items if not outputs.done(item)}
    if len(missing) < len(items):
        log.info("%d of %d images are there already", len(items) - len(missing), len(items))
    if not missing:
        return {}
    from segframe.interrupt import catching
    from segframe.load_model import load_model
    from segframe.plugins.data_words import shown
    from segframe.plugins.predict_batches import run_batches
    from segframe.plugins.predicting import Predictor, Window

    height, width, _ = stored["image_shape"]
    predictor = Predictor(
        load_model(weights),
        largest=height * width,
        window=Window(words.tile, words.overlap),
        views=words.tta,
    )
    # Whole batches, though some of it be there: the last bits depend on how many images go together.
    batches = [batch for batch in predictor.batches(items) if any(item.name in missing for item in batch)]
    with catching() as interrupt:
        return run_batches(predictor, shown(batches, "predicting", len(batches)), outputs, missing, interrupt)


def _score(
    words: argparse.Namespace, stored: dict[str, Any], outputs: Outputs, items: Sequence[Item]
) -> dict[str, str]:
    """Where there are masks: OUT/scores.json and OUT/scores.csv, or OUT-scores of a file."""
    from segframe.plugins.data_words import mapping_table
    from segframe.plugins.predict_masks import MaskFolder, masks_of
    from segframe.plugins.predict_scores import score

    given = MaskFolder(words.masks, mapping_table(words.map), words.ignore) if words.masks else None
    masks, spacing = masks_of(items, outputs.class_names, given)
    if not masks:
        return {}
    packing = outputs.folder != words.out
    place = words.out.with_name(f"{words.out.stem}-scores") if packing else words.out / "scores"
    return score(outputs, items, masks, stored["config"], spacing, place)
