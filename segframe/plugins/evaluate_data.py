"""The data that `evaluate` scores a run on: opened, with the run's classes, checked against what it takes."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from segframe.dataset import Dataset
from segframe.errors import SegframeError, nearest
from segframe.plugins.evaluate_classes import with_classes

if TYPE_CHECKING:
    from segframe.manager import Plugins
    from segframe.record import Record
    from segframe.split import Part

log = logging.getLogger("segframe")


class EvaluatedData(NamedTuple):
    """What is scored."""

    dataset: Dataset
    """With the run's class names."""
    part: Part
    name: str
    """For the evaluation's files."""
    where: str
    """For people."""
    facts: dict[str, Any]
    """For the evaluation's JSON: content hash, split, section, classes."""

    @property
    def mask_facts(self) -> dict[str, Any]:
        from segframe.builder_facts import mask_facts

        return mask_facts(self.dataset)


def evaluated_data(
    plugins: Plugins,
    record: Record,
    stored: Mapping[str, Any],
    section: Mapping[str, Any] | None,
    split: str,
    renamed: Sequence[tuple[str, str]],
) -> EvaluatedData:
    """Open the data and choose what is scored.

    Args:
        stored: facts of the run's weights file (segframe.load_model).
        section: a config section of a dataset; None: the run's own data, its parts as it saw them.
        renamed: (class of the data, class of the run, or "" for one that counts nowhere).

    Raises:
        SegframeError: they cannot be opened, lack the split, or have other classes, channels or values.
    """
    from segframe.catalog import build
    from segframe.split import Part

    facts = record.read("record.json") or {}
    if section is None:
        dataset, part = _own(plugins, facts, stored["config"], split)
        section = stored["config"]["dataset"]
    else:
        dataset = build(plugins, "dataset", section)
        if split not in dataset.splits:
            raise SegframeError(
                f"--split {split}",
                expected=f"a split of the data ({', '.join(dataset.splits)})",
                got=repr(split),
                remedy=nearest(split, dataset.splits),
            )
        ids = tuple(dataset.ids(split))
        part = Part(split, tuple(range(len(ids))), ids)
    known = facts.get("data", {})
    trained = set(known.get("samples", {}).get("train", ()))
    if known.get("content_hash") == dataset.content_hash and trained & set(part.ids):
        count = len(trained & set(part.ids))
        log.warning(
            "The run was trained on %d of these %d images: such scores say little.", count, len(part.ids)
        )
    _check_images(dataset, part, stored)
    seen, classes = with_classes(dataset, stored["class_names"], renamed)
    source = str(section.get("path", "")) or str(section["name"])
    told = {"content_hash": dataset.content_hash, "split": split, "section": dict(section)}
    name = re.sub(r"[^\w.-]+", "_", f"{Path(source).stem}-{split}")
    return EvaluatedData(seen, part, name, source, told | ({"classes": classes} if classes else {}))


def _own(
    plugins: Plugins, facts: Mapping[str, Any], config: Mapping[str, Any], split: str
) -> tuple[Dataset, Part]:
    """The run's own data, and its part of that name."""
    from segframe.catalog import build
    from segframe.folds import seen_as_fold
    from segframe.split import check_same, parts

    started_in = Path(facts.get("started_in", "."))
    with contextlib.chdir(started_in if started_in.is_dir() else "."):  # a relative path is meant from there
        dataset = seen_as_fold(build(plugins, "dataset", config["dataset"]), config)
        chosen = parts(dataset, {"train_fraction": 1.0, **config["split"]})
    known = facts.get("data", {})
    if known and dataset.content_hash != known["content_hash"]:
        raise SegframeError(
            "the run's own data",
            expected=f"the content hash {known['content_hash'][:12]}",
            got=dataset.content_hash[:12],
            remedy="They were changed since: name the file as DATA to score it as it is.",
        )
    if known:
        check_same(chosen, known["samples"], "the run")
    if split not in chosen:
        raise SegframeError(
            f"--split {split}",
            expected=f"a part of the run ({', '.join(chosen)})",
            got=repr(split),
            remedy=nearest(split, chosen),
        )
    return dataset, chosen[split]


def _check_images(dataset: Dataset, part: Part, stored: Mapping[str, Any]) -> None:
    """Raises SegframeError: other channels than the run's, or floats for its 8 bits."""
    import numpy as np

    channels, scale = stored["image_shape"][2], stored["normalisation"]["scale"]
    image = dataset.read(part.split, part.indices[:1])[0].image
    for what, wanted, got in (
        ("channels", channels, image.shape[2]),
        (
            "kind of values",
            "uint8" if scale != 1.0 else "float32",
            "uint8" if image.dtype == np.uint8 else "float32",
        ),
    ):
        if wanted != got:
            raise SegframeError(
                f"the {what} of the images",
                expected=f"{wanted}, as the run's",
                got=str(got),
                remedy="Import them as the run's data were (python -m segframe data import).",
            )
