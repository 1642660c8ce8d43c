"""Scores and predictions of a run's model on the parts of its data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from segframe.batch import target_of
from segframe.metrics import confusion, image_scores, split_scores
from segframe.pipeline import Pipeline
from segframe.requested_metrics import RequestedMetrics, split_means
from segframe.step import Steps
from segframe.tiled_evaluation import Evaluated, by_tiles


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
        for image in self._images(part):
            losses.append(image.loss)
            counts.append(confusion(image.mask, image.ids, len(self.class_names)))
            if asked:
                more.append(asked.image_scores(image.mask, image.ids))
        counted = np.stack(counts)
        loss_of = np.array(losses, np.float64)
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
        return [image.ids for image in self._images(part, positions)]

    def _images(self, part: str, positions: Sequence[int] | None = None) -> Iterator[Evaluated]:
        """Each image of a part, or some of them: whole, in batches; by tiles in a run on patches."""
        if self.pipeline.patches:
            yield from by_tiles(self.steps, self.pipeline, part, positions)
            return
        for batch in self.pipeline.evaluate(part, positions):
            loss, ids = self.steps.evaluate(batch["image"], target_of(batch))
            masks = batch["mask"].numpy().astype(np.uint8)
            found = loss.numpy(), masks, ids.numpy(), batch["size"].numpy()
            for value, mask, prediction, (height, width) in zip(*found, strict=True):
                yield Evaluated(float(value), mask[:height, :width], prediction[:height, :width])
