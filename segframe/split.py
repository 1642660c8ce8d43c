"""Which samples train, which choose, which are scored at the end."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from segframe.dataset import Dataset
from segframe.errors import SegframeError
from segframe.fold_table import classes_shown
from segframe.stratify import share

log = logging.getLogger("segframe")


class Part(NamedTuple):
    """Samples of a data set that play one part in a run."""

    split: str
    """The data set's split that they lie in."""
    indices: tuple[int, ...]
    """Indices within that split."""
    ids: tuple[str, ...]
    """Their names, in the same order."""
    whole: tuple[str, ...] | None = None
    """Where split.train_fraction leaves samples out: the names of all that could train."""


def parts(dataset: Dataset, section: Mapping[str, Any]) -> dict[str, Part]:
    """{"train", "val", "test"} -> Part, without those that there are none of.

    Args:
        section: conf/split. With folds, the data set is one seen as a fold (segframe.folds).

    Raises:
        SegframeError: nothing to train on, too few groups to hold one out, a sample or group in two splits.
    """
    check_apart(dataset)
    if "train" not in dataset.splits:
        raise SegframeError(
            "the data set",
            expected="a split named train",
            got=", ".join(dataset.splits) or "none",
            remedy="Write its samples below /train: see the layout in segframe/plugins/hdf5.py.",
        )
    result = {"train": _whole(dataset, "train")}
    if section["val"] == "none":
        log.info(
            "split.val=none: all %d samples of train train; the last weights are scored.",
            len(result["train"].ids),
        )
        if "val" in dataset.splits:
            log.info("The file's val split (%d samples) is not used.", len(dataset.ids("val")))
    elif "val" in dataset.splits:
        result["val"] = _whole(dataset, "val")
    else:
        result |= _hold_out(dataset, section["val_fraction"], _hold_out_key(section))
        log.info(
            "No val split in the data: %d of train's %d samples are held out for validation "
            "(split.val_fraction=%g, split.seed=%d).",
            len(result["val"].ids),
            len(dataset.ids("train")),
            section["val_fraction"],
            section["seed"],
        )
    if section["train_fraction"] < 1:
        result["train"] = _fraction_of(dataset, result["train"], section)
    if "test" in dataset.splits:
        result["test"] = _whole(dataset, "test")
    else:
        log.info("No test split in the data: nothing is scored at the end but validation.")
    return result


def _whole(dataset: Dataset, split: str) -> Part:
    ids = tuple(dataset.ids(split))
    return Part(split, tuple(range(len(ids))), ids)


def check_apart(dataset: Dataset) -> None:
    """Check that no sample and no group is in two splits: what was trained on would be scored.

    Raises:
        SegframeError: one is.
    """
    for kind, names_of in (("ids", dataset.ids), ("groups", dataset.groups)):
        found: dict[str, str] = {}
        twice: dict[str, str] = {}
        for split in dataset.splits:
            for name in dict.fromkeys(names_of(split)):
                if found.setdefault(name, split) != split:
                    twice.setdefault(name, f"{name!r} in {found[name]} and {split}")
        if twice:
            more = f", and {len(twice) - 5} more" if len(twice) > 5 else ""
            raise SegframeError(
                f"the data set's {kind}",
                expected="each in one split",
                got=", ".join(list(twice.values())[:5]) + more,
                remedy="Leave them in one of the splits: a score is worthless where they are in two.",
            )


def check_same(chosen: Mapping[str, Part], samples: Mapping[str, Sequence[str]], where: str) -> None:
    """Check that a run goes on with the samples that it began with.

    Args:
        samples: {part: ids} of its record.

    Raises:
        SegframeError: it does not: the file of the folds was lost, and they were dealt otherwise.
    """
    differing = [name for name in {**chosen, **samples} if name not in chosen or name not in samples]
    differing += [
        name for name in chosen if list(chosen[name].ids) != list(samples.get(name, chosen[name].ids))
    ]
    if differing:
        raise SegframeError(
            where,
            expected="a run on the samples of this command",
            got=f"one that began with others in {', '.join(differing)}",
            remedy="Put RUNS_DIR/folds back as it was, or start afresh with train.resume=never.",
        )


def _hold_out_key(section: Mapping[str, Any]) -> str:
    """Each fold holds out other groups: with the same for all some would never train."""
    if section["folds"] is None:
        return str(section["seed"])
    return f"{section['seed']}/repeat {section['repeat']}/fold {section['fold']}"


def _fraction_of(dataset: Dataset, train: Part, section: Mapping[str, Any]) -> Part:
    """The share of the training samples that trains; a smaller one lies within it."""
    fraction, samples, groups = section["train_fraction"], len(train.ids), dataset.groups(train.split)
    shown = classes_shown(dataset, [(train.split, index) for index in train.indices])
    key = f"{_hold_out_key(section)}/train_fraction"
    chosen = share(shown, [groups[index] for index in train.indices], round(fraction * samples), key)
    if not chosen.any():
        raise SegframeError(
            "split.train_fraction",
            expected=f"a share of the {samples} training samples with at least one whole group in it",
            got=f"{fraction:g}, {round(fraction * samples)} samples",
            remedy="Take a larger one.",
        )
    log.info(
        "split.train_fraction=%g: %d of the %d training samples train (split.seed=%d).",
        fraction, chosen.sum(), samples, section["seed"],
    )  # fmt: skip
    lost = shown.any(0) & ~shown[chosen].any(0)
    if lost.any():
        names = ", ".join(name for name, gone in zip(dataset.class_names, lost, strict=True) if gone)
        log.warning("None of them shows %s, which others do: the network cannot learn it.", names)
    kept = [number for number, one in enumerate(chosen) if one]
    return Part(
        train.split, tuple(train.indices[n] for n in kept), tuple(train.ids[n] for n in kept), train.ids
    )


def _hold_out(dataset: Dataset, fraction: float, seed: str) -> dict[str, Part]:
    """Whole groups, in an order that depends on their names and the seed, not on their order in the file."""
    groups = tuple(dataset.groups("train"))
    names = sorted(set(groups), key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    if len(names) < 2:
        raise SegframeError(
            "split.val",
            expected="at least two groups in train, to hold one out",
            got=str(len(names)),
            remedy="Use split.val=none to train on all of it, or give the file a val split.",
        )
    held = set(names[: min(max(1, round(fraction * len(names))), len(names) - 1)])
    ids = dataset.ids("train")

    def part(keep: bool) -> Part:
        indices = tuple(index for index, group in enumerate(groups) if (group in held) == keep)
        return Part("train", indices, tuple(ids[index] for index in indices))

    return {"train": part(False), "val": part(True)}
