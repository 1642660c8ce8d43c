"""The folds of a data set as a file, written once and read by every run.

RUNS_DIR/folds/HASH.json: data (the content hash), folds, repeat, seed, splits (which were dealt), algorithm
(the version that dealt), test (the ids of each fold), samples_with ({class: how many samples of each fold
show it}), sha256 (of all of that). It lies with the runs, not in a cache: a segframe that would deal
otherwise goes on with the folds that the runs beside it have used.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segframe.atomic import write_json
from segframe.dataset import Dataset
from segframe.errors import SegframeError
from segframe.stratify import ALGORITHM, deal, even_sizes

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("segframe")


def fold_table(dataset: Dataset, section: Mapping[str, Any], runs_dir: Path) -> dict[str, Any]:
    """The table of these folds: from its file, or dealt and written now.

    Args:
        section: conf/split, with folds.

    Raises:
        SegframeError: there are fewer groups than folds, or the file is damaged, of other samples, or cannot
            be written.
    """
    from filelock import FileLock

    wanted = {
        "data": dataset.content_hash,
        "folds": section["folds"],
        "repeat": section["repeat"],
        "seed": section["seed"],
        "splits": [split for split in section["fold_splits"] if split in dataset.splits],
    }
    path = runs_dir / "folds" / f"{_digest(wanted)[:16]}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):  # so that of runs that start together one writes it
            if not path.exists():
                write_json(path, _made(dataset, wanted))
                log.info("Folds dealt, once, and kept in %s", path)
            return _read(path, dataset, wanted)
    except OSError as error:
        raise SegframeError(
            str(path),
            expected="a place to keep the folds",
            got=str(error),
            remedy="Name a folder that you may write to: runs_dir=PATH.",
        ) from error


def pool(dataset: Dataset, splits: Sequence[str]) -> tuple[list[tuple[str, int]], list[str], list[str]]:
    """The samples of some splits together: (split, index), id and group of each."""
    places = [(split, index) for split in splits for index in range(len(dataset.ids(split)))]
    ids = [name for split in splits for name in dataset.ids(split)]
    return places, ids, [name for split in splits for name in dataset.groups(split)]


def _made(dataset: Dataset, wanted: Mapping[str, Any]) -> dict[str, Any]:
    places, ids, groups = pool(dataset, wanted["splits"])
    folds, there = wanted["folds"], len(set(groups))
    if there < folds:
        raise SegframeError(
            "split.folds",
            expected=f"at most {there}, the number of groups in {', '.join(wanted['splits']) or 'no split'}",
            got=str(folds),
            remedy="Take fewer folds, or name more splits in split.fold_splits.",
        )
    labels = classes_shown(dataset, places)
    sizes, key = even_sizes(len(groups), folds), f"{wanted['seed']}/{wanted['repeat']}"
    fold_of = deal(labels, groups, sizes, key).tolist()
    table = {
        **wanted,
        "algorithm": ALGORITHM,
        "test": [[name for name, fold in zip(ids, fold_of, strict=True) if fold == k] for k in range(folds)],
        "samples_with": {
            name: [int(sum(labels[i, c] for i, f in enumerate(fold_of) if f == k)) for k in range(folds)]
            for c, name in enumerate(dataset.class_names)
        },
    }
    return {**table, "sha256": _digest(table)}


def classes_shown(dataset: Dataset, places: Sequence[tuple[str, int]]) -> np.ndarray:
    """(samples, num_classes) bool."""
    import numpy as np

    found = np.zeros((len(places), dataset.num_classes), bool)
    for row, (split, index) in zip(found, places, strict=True):
        ids = np.unique(dataset.read(split, [index])[0].mask)
        row[ids[ids < dataset.num_classes]] = True
    return found


def _read(path: Path, dataset: Dataset, wanted: Mapping[str, Any]) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        digest = table.pop("sha256")
        whole = digest == _digest(table) and wanted.items() <= table.items()
        dealt = sorted(name for fold in table["test"] for name in fold)
    except (ValueError, KeyError, TypeError, AttributeError):
        whole, dealt = False, []
    if not whole or dealt != sorted(pool(dataset, wanted["splits"])[1]):
        raise SegframeError(
            str(path),
            expected="the folds of this data set as they were written",
            got="a file that was changed or damaged since",
            remedy="Put the file of before back. Without it the folds are dealt anew: delete it, and do not "
            "compare runs of before with those after.",
        )
    return {**table, "sha256": digest}


def _digest(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
