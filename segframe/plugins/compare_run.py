"""A run as `compare` sees it: read from its folder, without TensorFlow."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segframe.errors import SegframeError
from segframe.record import FINISHED, Record

BASIC = {"dice": True, "iou": True, "pixel_accuracy": True, "loss": False}
"""Whether more is better, of the scores that every run has (segframe.metrics)."""


@dataclass(frozen=True)
class ComparedRun:
    """What is known of one run."""

    folder: Path
    config: Mapping[str, Any]
    """Flat keys of its identity, without data and code."""
    data: str
    """The data set's content hash."""
    code: str
    contract: Mapping[str, Any]
    samples: Mapping[str, tuple[str, ...]]
    """{part: ids}."""
    class_names: tuple[str, ...]
    state: str
    result: Mapping[str, Any] | None
    """result.json of a finished run."""
    history: tuple[Mapping[str, Any], ...]
    whole_train: tuple[str, ...] | None
    """Where split.train_fraction left samples out: the ids of all that could train."""
    cost: Mapping[str, float]
    """Of `COSTS`, those that are recorded."""
    machine: str

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def seed(self) -> Any:
        return self.config.get("seed")

    @property
    def split(self) -> str:
        """The same where the same samples train (or could, with split.train_fraction), validate and test."""
        whole = {"train": self.whole_train} if self.whole_train else {}
        parts = {part: sorted(ids) for part, ids in {**self.samples, **whole}.items()}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def score(self, key: str) -> float | None:
        """`val/dice` and its like, None where it is undefined or not there."""
        return None if self.result is None else self.result["scores"].get(key)

    def image_scores(self, name: str) -> dict[str, float | None]:
        """{id: score} of the test images, None where it is undefined; empty if the run does not keep it."""
        kept = (self.result or {}).get("per_image", {}).get("test", {})
        return dict(zip(kept["id"], kept[name], strict=True)) if name in kept else {}

    def direction(self, score: str) -> bool:
        """Whether more is better, of a score without its part: `dice`, `iou_pooled/car`, `hd95`.

        Raises:
            SegframeError: no contract names it.
        """
        base = _base(score)
        for metric in self.contract.get("requested", {}).values():
            if base in metric["larger_is_better"]:
                return metric["larger_is_better"][base]
        if base in BASIC:
            return BASIC[base]
        raise SegframeError(
            f"--score {score}",
            expected="a score whose metric contract says whether more is better",
            got="none that does",
            remedy="Compare by dice, iou, pixel_accuracy, loss, or what conf/metrics offers.",
        )

    def contract_of(self, name: str) -> dict[str, Any]:
        """What the score means: the contract without the requested metrics that are not this one."""
        base = _base(name)
        requested = self.contract.get("requested", {}).values()
        mine = [metric for metric in requested if base in metric["larger_is_better"]]
        return {**{k: v for k, v in self.contract.items() if k != "requested"}, "requested": mine}


def _base(score: str) -> str:
    """Without its class, and whether it is pooled: as contracts name it."""
    return score.partition("/")[0].removesuffix("_pooled")


COSTS = {
    "parameters": "parameters",
    "gflop": "GFLOP/image",
    "step_ms": "step (ms)",
    "memory_mib": "memory (MiB)",
    "gpu_memory_mib": "GPU memory (MiB)",
    "energy_kj": "energy (kJ)",
    "train_seconds": "training (s)",
    "images_per_second": "images/s",
    "epoch": "epoch chosen",
}
"""{key: heading}. The times are the steps' own, waits for data included, validation not."""
NO_AXIS = ("images_per_second", "epoch")
"""What is no cost to hold against a score, or the inverse of one that is."""


def read_run(folder: Path) -> ComparedRun:
    """A run from its folder.

    Raises:
        SegframeError: its record.json is missing or damaged.
    """
    record = Record(folder)
    try:
        facts, result = record.read("record.json"), record.read("result.json")
        history = record.read("history.json") or []
        status = record.status() or (FINISHED if result else "unknown")
        identity = dict(facts["identity"])
        data, code = identity.pop("data"), identity.pop("code")
        return ComparedRun(
            folder,
            _as_of_today(identity),
            data,
            code,
            facts["metric_contract"],
            {part: tuple(ids) for part, ids in facts["data"]["samples"].items()},
            tuple(facts["data"]["class_names"]),
            status,
            result if status == FINISHED else None,
            tuple(history),
            tuple(facts["data"]["train_of"]) if "train_of" in facts["data"] else None,
            _cost(facts, result, history, record.read("costs.json") or {}),
            _machine(facts.get("machine", {}), facts.get("threads")),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise SegframeError(
            str(folder),
            expected="the folder of a run, with its record.json",
            got=f"{type(error).__name__}: {error}",
            remedy="Leave it out: it is no run's folder, or it was damaged.",
        ) from error


def _as_of_today(config: dict[str, Any]) -> dict[str, Any]:
    """Keys that a run of an earlier version lacks, with what it did."""
    deterministic = config.pop("train.deterministic", False)
    was = {"split.train_fraction": 1.0, "train.determinism": "strict" if deterministic else "auto"}
    return was | config


def _cost(
    facts: Mapping[str, Any],
    result: Mapping[str, Any] | None,
    history: list[Mapping[str, Any]],
    recorded: Mapping[str, Any],
) -> dict[str, float]:
    """Of older runs without costs.json, what their history tells."""
    cost: dict[str, float] = {}
    if "parameters" in facts:
        cost["parameters"] = facts["parameters"]
    timed = [entry for entry in history if entry.get("train_seconds")]
    if timed:
        cost["train_seconds"] = sum(entry["train_seconds"] for entry in timed)
    steady = timed[1:]  # the first epoch compiles
    if steady:
        cost["images_per_second"] = statistics.median(entry["images_per_second"] for entry in steady)
        before = {entry["epoch"]: entry["step"] for entry in timed}
        cost["step_ms"] = statistics.median(
            1000 * entry["train_seconds"] / (entry["step"] - before.get(entry["epoch"] - 1, 0))
            for entry in steady
        )
    for key, of, unit in (
        ("gflop", "flops", 1e9),
        ("step_ms", "step_ms", 1),
        ("memory_mib", "memory_mib", 1),
        ("gpu_memory_mib", "gpu_memory_mib", 1),
        ("energy_kj", "energy_j", 1e3),
    ):
        if recorded.get(of) is not None:
            cost[key] = recorded[of] / unit
    if result is not None:
        cost["epoch"] = result["epoch"]
    return cost


def _machine(machine: Mapping[str, Any], threads: Any) -> str:
    device = ", ".join(machine.get("gpus", [])) or f"{machine.get('processor', 'unknown')}, {threads} threads"
    return f"{device}; {machine.get('system', '')}"
