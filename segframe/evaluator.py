"""Scores and predictions of a run's model on the parts of its data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from segframe.batch import target_of
from segframe.metrics import confusion, image_scores, split_scores
from segframe.pipeline import Pipeline
from segframe.requested_metrics import RequestedMetrics, split_means
from segframe.step import Steps


class PartScores(NamedTuple):
    """What a model scores on one part."""

    scores: dict[str, float]
    """"loss", the keys of segframe.metrics.split_scores and, if asked for, the requested metrics'."""
    per_image: dict[str, np.ndarray]
    """"loss", the keys of segframe.metrics.image_scores and, if asked for, the requested metrics': (images,)
    float64 each, nan where undefined."""
    counts: np.ndarray
    """(images, num_classes, num_classes) int64 confusion counts."""


class Evaluator:
    """`score("val")`, `predict("test", [0, 3])`, with the weights that the model has at that moment.

    Args:
        requested: the metrics of the config, if there are any.
    """

    def __init__(self, steps: Steps, pipeline: Pipeline, requested: RequestedMetrics | None = None):
        self.steps, self.pipeline = steps, pipeline
        self.class_names = tuple(pipeline.dataset.class_names)
        self.requested = requested or None

    def score(self, part: str, *, requested: bool = False) -> PartScores:
        """One pass over a part.

        Args:
            requested: with the requested metrics, which may take longer than all the rest.
        """
        losses, counts = [], []
        asked = self.requested if requested else None
        more: list[dict[str, float]] = []
        for batch in self.pipeline.evaluate(part):
            loss, prediction = self.steps.evaluate(batch["image"], target_of(batch))
            losses.append(loss.numpy())
            masks = batch["mask"].numpy()
            counts += [
                confusion(mask, ids, len(self.class_names))
                for mask, ids in zip(masks, prediction.numpy(), strict=True)
            ]
            if asked:
                more += [
                    asked.image_scores(mask[:height, :width].astype(np.uint8), ids[:height, :width])
                    for mask, ids, (height, width) in zip(
                        masks, prediction.numpy(), batch["size"].numpy(), strict=True
                    )
                ]
        counted = np.stack(counts)
        loss_of = np.concatenate(losses).astype(np.float64)
        asked_of = {key: np.array([image[key] for image in more]) for key in (more[0] if more else ())}
        return PartScores(
            {
                "loss": float(loss_of.mean()),
                **split_scores(counted, self.class_names),
                **split_means(asked_of),
            },
            {"loss": loss_of, **image_scores(counted, self.class_names), **asked_of},
            counted,
        )

    def predict(self, part: str, positions: Sequence[int]) -> list[np.ndarray]:
        """(height, width) uint8 class ids of some samples of a part, in the size of their images."""
        found = []
        for batch in self.pipeline.evaluate(part, positions):
            _, prediction = self.steps.evaluate(batch["image"], target_of(batch))
            sizes = batch["size"].numpy()
            for ids, (height, width) in zip(prediction.numpy(), sizes, strict=True):
                found.append(ids[:height, :width])
        return found
