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
    from segframe.plugins.predict_files import Files
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
    packing = words.out.suffix.lower() in HDF5_ENDINGS
    if packing and words.overlays:
        remedy = "Leave --overlays away, or name a folder: the file has masks and probabilities."
        raise SegframeError("--overlays", expected="a folder as OUT", got=str(words.out), remedy=remedy)
    from segframe.load_model import stored_facts
    from segframe.plugins.predict_files import Files, Wanted
    from segframe.plugins.predict_outputs import Outputs
    from segframe.plugins.predict_run import sha256, weights_of
    from segframe.plugins.predict_sources import find_items
    from segframe.plugins.predicting import window_of

    weights = weights_of(words.run, words.runs_dir, words.uri)
    stored = stored_facts(weights)
    facts = {
        "run": weights.absolute().parent.name,
        "weights_sha256": sha256(weights),
        "class_names": stored["class_names"],
        "tile": words.tile or "auto",
        "overlap": window_of(stored["config"], words.tile, words.overlap).overlap,
        "tta": words.tta,
        "save": words.save,
    }
    found = find_items(words.images, words.splits)
    if packing and _is_packed(words, facts, found):
        return 0
    folder = _parts(words.out) if packing else words.out
    wanted = Wanted(words.save, words.overlays, words.probabilities)
    outputs = Outputs(Files(folder, stored["class_names"], wanted), facts)
    outputs.check(found.items, words.force)
    with outputs.lock():
        outputs.prepare(found.items, words.force)
        failed = found.failed | _predict(words, weights, stored, outputs.files, found.items)
        done = [item for item in found.items if item.where not in failed]
        if packing and done:
            from segframe.plugins.predict_pack import pack

            pack(words.out, outputs.files, facts, done)
        failed |= _score(words, stored, outputs.files, done)
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
    """Whether OUT.h5 has all that is asked for; raises SegframeError if it has something else."""
    from segframe.plugins.predict_pack import packed

    if not words.out.exists() or words.force:
        return False
    there = packed(words.out, facts)
    kinds = ["masks", *["probabilities"] * words.probabilities]
    wanted = {f"{kind}/{item.name}": item.stamp() for kind in kinds for item in found.items}
    names = {item.name for item in found.items}
    others = [name for name in there or () if name.partition("/")[2] not in names]
    if there is None or others:
        got = "one of something else" if there is None else f"one with other images, such as {others[0]}"
        remedy = "Name another OUT, or replace it with --force."
        raise SegframeError(f"file {words.out}", expected="a new file", got=got, remedy=remedy)
    if _parts(words.out).exists():  # images or scores failed before: what is mended goes on there
        return False
    if found.failed or any(there.get(name) != stamp for name, stamp in wanted.items()):
        return False
    scores = Path(f"{_scores_beside(words.out)}.json")
    if words.masks and not scores.exists():
        return False
    log.info("%s is there already, with these %d images", words.out, len(found.items))
    if words.masks:
        log.info("%s is there already; --force scores anew", scores)
    return True


def _predict(
    words: argparse.Namespace,
    weights: Path,
    stored: dict[str, Any],
    files: Files,
    items: Sequence[Item],
) -> dict[str, str]:
    """Write what is not there yet; {where: what is wrong} of those that fail."""
    missing = {item.name for item in items if not files.done(item)}
    if len(missing) < len(items):
        log.info("%d of %d images are there already", len(items) - len(missing), len(items))
    if not missing:
        return {}
    from segframe.interrupt import catching
    from segframe.load_model import load_model
    from segframe.plugins.data_words import shown
    from segframe.plugins.predict_batches import run_batches
    from segframe.plugins.predicting import Predictor, window_of

    patch = stored["config"].get("patch") or {"size": None}
    height, width = patch["size"] or stored["image_shape"][:2]  # what the run's memory was enough for
    predictor = Predictor(
        load_model(weights),
        largest=height * width,
        window=window_of(stored["config"], words.tile, words.overlap),
        views=words.tta,
    )
    # Whole batches, though some of it be there: the last bits depend on how many images go together.
    batches = [batch for batch in predictor.batches(items) if any(item.name in missing for item in batch)]
    with catching() as interrupt:
        return run_batches(predictor, shown(batches, "predicting", len(batches)), files, missing, interrupt)


def _score(
    words: argparse.Namespace, stored: dict[str, Any], files: Files, items: Sequence[Item]
) -> dict[str, str]:
    """Where there are masks: OUT/scores.json and OUT/scores.csv, or OUT-scores of a file."""
    from segframe.plugins.data_words import mapping_table
    from segframe.plugins.predict_masks import MaskFolder, masks_of
    from segframe.plugins.predict_scores import score

    given = MaskFolder(words.masks, mapping_table(words.map), words.ignore) if words.masks else None
    try:
        masks, spacing = masks_of(items, files.class_names, given)
    except SegframeError as error:
        return {error.subject: f"expected {error.expected}, got {error.got}. {error.remedy}"}
    if not masks:
        return {}
    packing = files.folder != words.out
    place = _scores_beside(words.out) if packing else words.out / "scores"
    return score(files, items, masks, stored["config"], spacing, place)


def _parts(packed: Path) -> Path:
    """The folder of what OUT.h5 is made of; gone once nothing has failed."""
    return packed.with_name(f"{packed.name}.parts")


def _scores_beside(packed: Path) -> Path:
    """Of the scores beside OUT.h5, without ending."""
    return packed.with_name(f"{packed.stem}-scores")
