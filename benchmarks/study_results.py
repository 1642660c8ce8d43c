"""What benchmarks/study.py keeps of its runs: scores, costs, versions and machine, as JSON."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from study_grids import Job

from segframe.atomic import write_json
from segframe.record import FINISHED, Record

HISTORY: tuple[tuple[str, ...], ...] = ((), ("train/loss", "images_per_second"))
"""What is kept of every epoch, without and with a plot to be made of it: a run's folder has all."""


class Study:
    """The JSON of a study: what there is of it, and what comes to it.

    Args:
        command: how it is repeated; kept with it.
    """

    def __init__(self, path: Path, command: str):
        self.path = path
        self.content: dict[str, Any] = {"command": "", "runs": [], "failed": [], "missing": []}
        if path.exists():
            self.content |= json.loads(path.read_text(encoding="utf-8"))
        self.content["command"] = command
        self.content["failed"] = []  # they are tried again

    def has(self, job: Job) -> bool:
        """Whether the job stands in it, with the very same words."""
        return any(
            run["name"] == job.name and run["words"] == list(job.words) for run in self.content["runs"]
        )

    def fail(self, job: Job, log: str) -> None:
        self.content["failed"].append({"name": job.name, "words": list(job.words), "log": log})

    def add(self, job: Job, folder: Path, seconds: float) -> None:
        """Take in what the finished run's folder says."""
        record = Record(folder)
        if record.status() != FINISHED:
            raise ValueError(f"the run is {record.status()}")
        result, history, facts = (record.read(f"{name}.json") for name in ("result", "history", "record"))
        checkerboard = folder.with_name(f"{folder.name}.checkerboard.json")
        entry = {
            "name": job.name,
            "grid": job.grid,
            "data": job.data,
            "recipe": job.recipe,
            "seed": job.seed,
            "words": list(job.words),
            "epoch": result["epoch"],
            "chosen_by": result["chosen_by"],
            "scores": result["scores"],
            "test_at": result["test_at"],
            "per_image": _foreground(result["per_image"].get("test", {})),
            "per_image_test_at": {e: _foreground(of) for e, of in result["per_image_test_at"].items()},
            "history": {key: [epoch.get(key) for epoch in history] for key in HISTORY[job.grid == "cars"]},
            "parameters": facts["parameters"],
            "images_per_second": statistics.median(
                epoch["images_per_second"] for epoch in history[1:] or history
            ),
            "train_seconds": sum(epoch["train_seconds"] for epoch in history),
            "process_seconds": seconds,
            "xla": facts["xla"],
        }
        if job.checkerboard:
            entry["checkerboard"] = json.loads(checkerboard.read_text(encoding="utf-8"))
        others = [run for run in self.content["runs"] if run["name"] != job.name]
        self.content["runs"] = [*others, _rounded(entry)]
        self.content["versions"] = facts["versions"]
        self.content["machine"] = {k: v for k, v in facts["machine"].items() if k != "command"}
        self.content["git"] = facts["git"]["segframe"]

    def write(self, jobs: list[Job]) -> None:
        """Write it, the runs in the order of the jobs, whichever ended first."""
        order = {job.name: position for position, job in enumerate(jobs)}
        self.content["runs"].sort(key=lambda run: order.get(run["name"], len(order)))
        there = {run["name"] for run in self.content["runs"]}
        self.content["missing"] = [job.name for job in jobs if job.name not in there]
        write_json(self.path, self.content)


def _foreground(per_image: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Without the columns of single classes."""
    return {key: values for key, values in per_image.items() if "/" not in key}


def _rounded(value: Any) -> Any:
    """To six digits, which are more than a run repeats."""
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
