"""`data import`: folders of images and masks -> one HDF5 file."""

from __future__ import annotations

import argparse
import logging
import shlex
from collections.abc import Callable, Collection

from segframe.errors import SegframeError
from segframe.plugins.data_words import PROGRAM, mapping_table, shown
from segframe.plugins.import_words import SHARES, check_split_words, check_words, fractions

log = logging.getLogger("segframe")


def bring_in(words: argparse.Namespace) -> int:
    """Do it; the exit code."""
    from segframe.plugins.import_images import check_ids, kind_of, read_sample
    from segframe.plugins.import_parts import Plan, write
    from segframe.plugins.import_survey import sources, survey
    from segframe.plugins.mask_kinds import Coding, colours_fault, read_colours

    def propose(options: str) -> str:
        return " ".join([PROGRAM, *map(shlex.quote, words.argv), options])

    check_words(words)
    coding = Coding(
        mapping_table(words.map),
        read_colours(words.colours) if words.colours else {},
        bool(words.instances),
        words.threshold,
    )
    names = words.class_names or list(coding.colours) or None
    if words.instances and not words.class_names:
        names = ["background", words.instances]
    ignore = _ignored(words.ignore, names)
    found = sources(_pairs(words, propose), words.workers, shown)
    check_split_words(words, found[0].split is not None)
    seen = survey(found, coding, words.workers, shown)
    if seen.unlisted:
        raise colours_fault(seen.unlisted, str(seen.first_unlisted), coding, propose)
    names = check_ids(seen, names, ignore, str(words.masks), propose)
    kind = kind_of(seen, words.bits, propose)
    groups = _groups(words, found)
    splits = _splits(words, found, seen.ids, groups, ignore)
    if len(seen.sizes) > 1:
        log.info("images of %d sizes: each sample becomes a dataset of its own", len(seen.sizes))
    attributes = {
        "class_names": names,
        "num_classes": len(names),
        "ignore_index": ignore,
        "spacing": words.spacing,
        "source": f"{words.images.resolve()} and {words.masks.resolve()}",
    }
    value_bytes = (4 if kind.divisors else 1) * (3 if kind.colour else 1) + 1
    write(
        Plan(
            out=words.out,
            sources=found,
            read=lambda source: read_sample(source, kind, coding),
            how=repr((kind, coding)),
            splits=splits,
            groups=groups,
            per_sample=len(seen.sizes) > 1,
            attributes=attributes,
            total_bytes=seen.pixels * value_bytes,
            workers=words.workers,
            shown=shown,
        )
    )
    log.info("wrote %s: %d samples, %d classes", words.out, len(found), len(names))
    log.info("python -m segframe data show %s", shlex.quote(str(words.out)))
    log.info("python -m segframe dataset=hdf5 dataset.path=%s", shlex.quote(str(words.out)))
    return 0


def _pairs(words: argparse.Namespace, propose: Callable[[str], str]) -> list:
    from segframe.plugins.image_pairs import find_pairs

    return find_pairs(words.images, words.masks, words.image_name, words.mask_name, propose)


def _ignored(text: str | None, names: list[str] | None) -> int | None:
    if text is None:
        return None
    if names and text in names:
        return names.index(text)
    if not text.isdigit() or int(text) > 255:
        remedy = "Give the id, after --map, or the name."
        expected = f"an id of 0 to 255{' or a class of ' + ', '.join(names) if names else ''}"
        raise SegframeError("--ignore", expected=expected, got=repr(text), remedy=remedy)
    return int(text)


def _groups(words: argparse.Namespace, found: list) -> dict[str, str]:
    """{sample: group}, empty where nothing is grouped; pages of one file belong together unless told."""
    from segframe.plugins.import_split import read_groups

    if words.groups is not None:
        groups = read_groups(words.groups, [source.name for source in found])
        log.info("%d groups", len(set(groups.values())))
        return groups
    if not any(source.stack for source in found):
        return {}
    log.info("pages of one file are a group and stay in one split; --groups '(.*)' lets each go alone")
    return {source.name: source.stack or source.name for source in found}


def _splits(
    words: argparse.Namespace,
    found: list,
    ids: dict[str, tuple[int, ...]],
    groups: dict[str, str],
    ignore: int | None,
) -> dict[str, str]:
    from segframe.plugins.import_split import split_samples

    if found[0].split is not None:
        splits = {source.name: source.split for source in found}
        how = "as the folders say"
        if "train" not in splits.values():
            remedy = f"mv {shlex.quote(str(words.images))}/FOLDER {shlex.quote(str(words.images / 'train'))}"
            raise SegframeError(
                f"folder {words.images}", expected="a folder train", got="none", remedy=remedy
            )
    else:
        classes: dict[str, Collection[int]] = {
            name: [value for value in values if value != ignore] for name, values in ids.items()
        }
        seed = words.seed or 0
        own = groups or {name: name for name in classes}
        splits = split_samples(classes, own, words.split or fractions(SHARES), seed)
        how = f"seed {seed}, classes spread evenly"
    count = {split: list(splits.values()).count(split) for split in ("train", "val", "test")}
    log.info("split %s, %s", ", ".join(f"{n} {split}" for split, n in count.items() if n), how)
    return splits
