"""One open MLflow run; whatever it is told twice stays there once."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from segframe.hiding import hide

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

# MLflow's limits (mlflow.utils.validation).
LONGEST_PARAM, LONGEST_TAG, LONGEST_KEY = 6000, 8000, 250
BATCH, METRICS = 100, 1000
T = TypeVar("T")


def allowed(name: str) -> str:
    """The name with what MLflow does not take in names of scores and params replaced by `_`."""
    name = re.sub(r"[^\w/.\- :]", "_", name)
    parts = [part if part.strip(".") else "_" for part in name.split("/")]
    return "/".join(parts)[:LONGEST_KEY]


def shortened(value: Any, longest: int) -> str:
    """The value as text, cut with a visible mark where MLflow would cut it in silence or refuse it."""
    text = str(value)
    return text if len(text) <= longest else f"{text[: longest - 40]}... (cut, {len(text)} characters)"


class MlflowRun:
    """segframe.tracker.TrackedRun in an MLflow store, through a client: there is no global active run."""

    def __init__(
        self, client: MlflowClient, run_id: str, log_model: bool = False, register_as: str | None = None
    ):
        self.client, self.run_id, self.log_model, self.register_as = client, run_id, log_model, register_as
        # "epoch" goes into each epoch's batch, so what it knows is what is there.
        self.there = {metric.step for metric in client.get_metric_history(run_id, "epoch")}

    def params(self, params: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        there = self.client.get_run(self.run_id).data.params
        new, changed = [], {}
        for key, value in params.items():
            name, text = allowed(key), shortened(value, LONGEST_PARAM)
            if name not in there:
                new.append(Param(name, text))
            elif there[name] != text:
                changed[f"resumed.{name}"] = text
        for batch in _batches(new):
            self.client.log_batch(self.run_id, params=batch)
        # MLflow never changes a param: what a resumed run does differently (device, resume) is told by tags.
        self.tags(changed)

    def tags(self, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        new = [RunTag(allowed(key), shortened(value, LONGEST_TAG)) for key, value in tags.items()]
        for batch in _batches(new):
            self.client.log_batch(self.run_id, tags=batch)

    def epochs(self, scores: Mapping[int, Mapping[str, float]]) -> None:
        now = int(time.time() * 1000)
        new = {
            epoch: _metrics({**found, "epoch": epoch}, now, epoch)
            for epoch, found in scores.items()
            if epoch not in self.there
        }
        batch: list[Metric] = []
        # An epoch is never cut in two: MLflow writes a batch whole or not at all, and "epoch" is in it.
        for metrics in new.values():
            if batch and len(batch) + len(metrics) > METRICS:
                self.client.log_batch(self.run_id, metrics=batch)
                batch = []
            batch += metrics
        if batch:
            self.client.log_batch(self.run_id, metrics=batch)
        self.there |= new.keys()

    def final(self, scores: Mapping[str, float]) -> None:
        there = self.client.get_run(self.run_id).data.metrics
        named = {allowed(key): float(value) for key, value in scores.items()}
        self.scores(
            {key: value for key, value in named.items() if key not in there or not _equal(there[key], value)}
        )

    def file(self, path: Path, folder: str = "") -> None:
        self.client.log_artifact(self.run_id, str(path), folder or None)

    def model(self, saved_model: Path, weights: Path) -> None:
        if self.log_model:
            from segframe.plugins.mlflow_model import log_saved_model, register

            if weights.name not in {file.path for file in self.client.list_artifacts(self.run_id)}:
                self.file(weights)
            model_id = log_saved_model(self.client, self.run_id, saved_model)
            if self.register_as:
                register(self.client, self.run_id, model_id, self.register_as)

    def scores(self, scores: Mapping[str, float], step: int = 0) -> None:
        metrics = _metrics(scores, int(time.time() * 1000), step)
        if metrics:
            self.client.log_batch(self.run_id, metrics=metrics)

    def end(self, status: str, error: str = "") -> None:
        if error:
            self.client.set_tag(self.run_id, "error", hide(error)[:500])
        self.client.set_terminated(self.run_id, status)


def _metrics(scores: Mapping[str, float], now: int, step: int) -> list[Metric]:
    """Undefined scores are kept as NaN; `now` in milliseconds."""
    from mlflow.entities import Metric

    return [Metric(allowed(key), float(value), now, step) for key, value in scores.items()]


def _equal(first: float, second: float) -> bool:
    return first == second or (math.isnan(first) and math.isnan(second))


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]
