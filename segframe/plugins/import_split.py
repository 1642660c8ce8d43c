"""Samples into train, val and test: whole groups, classes spread evenly, the same on every machine."""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from segframe.errors import SegframeError


def split_samples(
    classes: Mapping[str, Collection[int]],
    groups: Mapping[str, str],
    fractions: Mapping[str, float],
    seed: int,
) -> dict[str, str]:
    """{sample: split}. Depends on the samples' names, groups, classes and the seed, not on their order.

    Iterative stratification (Sechidis, Tsoumakas, Vlahavas, ECML PKDD 2011): the class that the fewest of
    the groups left have goes first, each of its groups to the split that lacks it most. Splits take whole
    groups and no more samples than their share, as far as the groups' sizes allow it.

    Args:
        classes: the classes that each sample has pixels of.
        groups: the group of each sample.
        fractions: {split: share}, which sum to 1; a split of share 0 gets none.

    Raises:
        SegframeError: there are fewer groups than splits.
    """
    members: dict[str, list[str]] = {}
    for sample in sorted(classes):
        members.setdefault(groups[sample], []).append(sample)
    asked = [split for split, fraction in fractions.items() if fraction]
    if len(members) < len(asked):
        grouped = len(members) < len(classes)
        got = (
            f"{len(classes)} samples in {len(members)} groups"
            if grouped
            else f"{len(classes)} samples in all"
        )
        remedy = "Give --split 1/0/0 to train on all of them, or more samples."
        if grouped:
            remedy = "Give --split 1/0/0 to train on all of them, or other --groups ('(.*)': no groups)."
        raise SegframeError("--split", expected="at least one group in each split", got=got, remedy=remedy)
    room = _room(len(classes), {split: fractions[split] for split in asked})
    has = {
        group: Counter(i for name in names for i in set(classes[name])) for group, names in members.items()
    }
    total = sum(has.values(), Counter())
    share = {split: room[split] / len(classes) for split in asked}
    wanted = {split: {i: count * share[split] for i, count in total.items()} for split in asked}
    order = sorted(members, key=lambda group: hashlib.sha256(f"{seed}:{group}".encode()).digest())
    order.sort(key=lambda group: -len(members[group]))  # a large group has the fewest places to go
    left, empty = dict.fromkeys(order), set(asked)
    placed: dict[str, str] = {}
    while left:
        rare = Counter(i for group in left for i in has[group])
        label = min(rare, key=lambda i: (rare[i], i)) if rare else None
        for group in [group for group in left if label is None or label in has[group]]:
            size = len(members[group])
            fitting = [split for split in asked if room[split] >= size] or asked
            if empty and len(left) <= len(empty):
                fitting = [split for split in asked if split in empty]
            split = max(
                fitting, key=lambda s: (wanted[s].get(label, 0.0) if label is not None else 0.0, room[s])
            )
            placed[group] = split
            del left[group]
            empty.discard(split)
            room[split] -= size
            for i, count in has[group].items():
                wanted[split][i] -= count
    return {sample: placed[groups[sample]] for sample in classes}


def _room(samples: int, fractions: Mapping[str, float]) -> dict[str, int]:
    """Samples that each split may have: shares rounded, at least one, train takes the rest."""
    room = {split: max(1, round(share * samples)) for split, share in fractions.items() if split != "train"}
    return {"train": max(1, samples - sum(room.values())), **room}


def read_groups(text: str, names: Sequence[str]) -> dict[str, str]:
    """The group of each sample.

    Args:
        text: a CSV file of lines sample,group; or a regular expression whose first parenthesis, found in a
            sample's name, is its group.

    Raises:
        SegframeError: the expression is none, or a sample gets no group.
    """
    path = Path(text)
    if path.suffix.lower() == ".csv":
        groups = _of_file(path)
        remedy = f"Add a line for each to {path}: sample,group"
    else:
        try:
            pattern = re.compile(text)
            if pattern.groups < 1:
                raise re.error("no parenthesis for the group")
        except re.error as error:
            remedy = "As in --groups '^(patient[0-9]+)_', or a file: --groups groups.csv"
            raise SegframeError(
                "--groups", expected="a regular expression", got=f"{text!r}: {error}", remedy=remedy
            ) from error
        found = {name: pattern.search(name) for name in names}
        groups = {name: match[1] for name, match in found.items() if match is not None and match[1]}
        remedy = "Change the expression so that it finds a group in every name."
    without = [name for name in names if name not in groups]
    if without:
        got = f"{len(without)} without: {', '.join(without[:5])}{', ...' * (len(without) > 5)}"
        raise SegframeError(f"--groups {text}", expected="a group for each sample", got=got, remedy=remedy)
    return {name: groups[name] for name in names}


def _of_file(path: Path) -> dict[str, str]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = [line for line in csv.reader(file) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        remedy = "Lines are sample,group; or give a regular expression."
        raise SegframeError(
            f"--groups {path}", expected="a CSV file", got=str(error), remedy=remedy
        ) from error
    groups: dict[str, str] = {}
    for line in lines:
        if len(line) < 2 or groups.setdefault(line[0].strip(), line[1].strip()) != line[1].strip():
            got = ",".join(line)
            raise SegframeError(
                f"--groups {path}",
                expected="one line sample,group for each sample",
                got=got,
                remedy="Mend it.",
            )
    return groups
