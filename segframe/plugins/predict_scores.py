"""Scores of predictions against the masks that are given."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segframe.atomic import replacing, write_json
from segframe.errors import SegframeError
from segframe.plugins.predict_masks import MaskOf
from segframe.plugins.predict_sources import Item

if TYPE_CHECKING:
    import numpy as np

    from segframe.plugins.predict_files import Files
    from segframe.requested_metrics import RequestedMetrics

log = logging.getLogger("segframe")


class Scores:
    """`add` each image; `write` when all are there. The core's scores, and those that the run asked for."""

    def __init__(
        self, class_names: Sequence[str], config: Mapping[str, Any], spacing: tuple[float, float] | None
    ):
        from segframe.dataset import IGNORED
        from segframe.manager import plugin_manager
        from segframe.requested_metrics import build_requested

        known = {"num_classes": len(class_names), "ignore_index": IGNORED, "spacing": spacing}
        self.class_names = tuple(class_names)
        sections = config.get("metrics") or {}
        self.requested = build_requested(plugin_manager(), sections, class_names, **known)
        self._counts: list[np.ndarray] = []
        self._asked: list[dict[str, float]] = []
        self._names: list[str] = []

    def __len__(self) -> int:
        return len(self._names)

    def add(self, name: str, mask: np.ndarray, ids: np.ndarray) -> None:
        from segframe.metrics import confusion

        self._names.append(name)
        self._counts.append(confusion(mask, ids, len(self.class_names)))
        self._asked.append(self.requested.image_scores(mask, ids))

    def write(self, scores_file: Path, images_file: Path) -> dict[str, float]:
        """Means as JSON, each image's as CSV; an undefined score is null, or empty."""
        import numpy as np

        from segframe.metrics import image_scores, split_scores
        from segframe.requested_metrics import split_means

        counts = np.stack(self._counts)
        asked = {key: np.array([one[key] for one in self._asked]) for key in self._asked[0]}
        scores = split_scores(counts, self.class_names) | split_means(asked)
        by_image = image_scores(counts, self.class_names) | asked
        contract = contract_of(self.requested)
        write_json(
            scores_file, {"images": len(counts), "scores": defined(scores), "metric_contract": contract}
        )
        write_images(images_file, self._names, by_image)
        return scores


def contract_of(requested: RequestedMetrics | None) -> dict[str, Any]:
    """What the scores mean: the core's, and those of the requested metrics if there are any."""
    from segframe.metrics import CONTRACT

    return CONTRACT | ({"requested": requested.contract()} if requested else {})


def defined(scores: Mapping[str, float]) -> dict[str, float | None]:
    """The scores as JSON has them: an undefined one is null."""
    return {key: value if math.isfinite(value) else None for key, value in scores.items()}


def write_images(path: Path, names: Sequence[str], by_image: Mapping[str, np.ndarray]) -> None:
    """Each image's scores as CSV; an undefined one is empty."""
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["id", *by_image])
        for index, name in enumerate(names):
            values = (float(each[index]) for each in by_image.values())
            table.writerow([name, *("" if math.isnan(value) else value for value in values)])


def score(
    files: Files,
    items: Sequence[Item],
    masks: Mapping[str, MaskOf],
    config: Mapping[str, Any],
    spacing: tuple[float, float] | None,
    place: Path,
) -> dict[str, str]:
    """Score what was written against the masks; {where: what is wrong} of those that cannot be.

    Args:
        place: `PLACE.json` and `PLACE.csv` are written.
    """
    scores, failed = Scores(files.class_names, config, spacing), {}
    for item in items:
        if item.name not in masks:
            continue
        try:
            scores.add(item.name, masks[item.name](), files.ids(item))
        except SegframeError as error:
            failed[f"{item.where} (score)"] = f"{error.subject}: expected {error.expected}, got {error.got}"
    if len(scores):
        found = scores.write(place.with_name(f"{place.name}.json"), place.with_name(f"{place.name}.csv"))
        means = ", ".join(f"{key} {found[key]:.4f}" for key in ("pixel_accuracy", "dice", "iou"))
        log.info("%d images have masks: %s; by class and image in %s.csv", len(scores), means, place)
    return failed
