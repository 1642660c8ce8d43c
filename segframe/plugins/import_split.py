"""Samples into train, val and test: whole groups, classes spread evenly, the same on every machine."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from segframe.errors import SegframeError
from segframe.plugins.data_words import csv_lines
from segframe.stratify import deal


def split_samples(
    classes: Mapping[str, Collection[int]],
    groups: Mapping[str, str],
    fractions: Mapping[str, float],
    seed: int,
) -> dict[str, str]:
    """{sample: split}. Depends on the samples' names, groups, classes and the seed, not on their order.

    segframe.stratify deals them. Splits take whole groups and no more samples than their share, as far as the
    groups' sizes allow it.

    Args:
        classes: the classes that each sample has pixels of.
        groups: the group of each sample.
        fractions: {split: share}, which sum to 1; a split of share 0 gets none.

    Raises:
        SegframeError: there are fewer groups than splits.
    """
    import numpy as np

    asked = [split for split, fraction in fractions.items() if fraction]
    there = len({groups[sample] for sample in classes})
    if there < len(asked):
        grouped = there < len(classes)
        got = f"{len(classes)} samples in {there} groups" if grouped else f"{len(classes)} samples in all"
        remedy = "Give --split 1/0/0 to train on all of them, or more samples."
        if grouped:
            remedy = "Give --split 1/0/0 to train on all of them, or other --groups ('(.*)': no groups)."
        raise SegframeError("--split", expected="at least one group in each split", got=got, remedy=remedy)
    room = _room(len(classes), {split: fractions[split] for split in asked})
    samples, known = sorted(classes), sorted(set().union(*classes.values()))
    labels = np.array([[label in classes[sample] for label in known] for sample in samples], bool)
    own = [groups[sample] for sample in samples]
    dealt = deal(labels.reshape(len(samples), len(known)), own, list(room.values()), str(seed))
    split_of = {sample: list(room)[part] for sample, part in zip(samples, dealt, strict=True)}
    return {sample: split_of[sample] for sample in classes}


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
    groups: dict[str, str] = {}
    for line in csv_lines(path, "--groups", "Lines are sample,group; or give a regular expression."):
        if len(line) < 2 or groups.setdefault(line[0].strip(), line[1].strip()) != line[1].strip():
            got = ",".join(line)
            raise SegframeError(
                f"--groups {path}",
                expected="one line sample,group for each sample",
                got=got,
                remedy="Leave one line for each sample, with its group.",
            )
    return groups
