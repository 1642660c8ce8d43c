"""Before the first job starts: every combination of a sweep takes some steps, and its cost is estimated."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra_plugins.segframe_launcher.places import Order, Place, stopping
from hydra_plugins.segframe_launcher.preflight_words import report
from hydra_plugins.segframe_launcher.sweep_table import varied
from segframe import identity
from segframe.atomic import write_json
from segframe.cache import remembered
from segframe.errors import SegframeError
from segframe.manager import Plugins
from segframe.provenance import versions
from segframe.settings import pass_length, steps_per_epoch
from segframe.split import Part

log = logging.getLogger("segframe")

JOBS_FOR_AUTO = 8
"""sweep.preflight=auto tries combinations from so many jobs on; of fewer it would be a large part."""

SAME = (
    "seed", "split", "metrics", "tracker", "runs_dir", "run_dir", "sweep", "train.epochs", "train.resume",
    "train.early_stopping_epochs", "train.score_test_at", "train.checkpoint_seconds", "train.steps_per_epoch",
)  # fmt: skip
"""Keys that change neither whether a step works nor what it costs."""


class Candidate(NamedTuple):
    """A job, as the preflight sees it."""

    number: int
    overrides: list[str]
    config: dict[str, Any]
    """As its process will have it."""
    data_hash: str
    samples: dict[str, int]
    """How many each part has."""


class Tried(NamedTuple):
    """A combination, and what came of it."""

    jobs: list[Candidate]
    found: dict[str, Any]
    """What segframe.preflight.try_out returns, with "memory_mib" and "importing"; or "error"."""
    remembered: bool

    def seconds(self, job: Candidate) -> float:
        """How long a job of it will take, about: without what a plugin or a tracker adds."""
        train, found = job.config["train"], self.found
        steps = steps_per_epoch(train, pass_length(job.config["patch"], job.samples["train"]))
        val, test = job.samples.get("val", 0), job.samples.get("test", 0)
        scored = (train["epochs"] + 1) * val + (len(train["score_test_at"]) + 1) * test
        firsts = ("importing", "building", "first_step", "first_evaluation", "first_statistics")
        each = found["step"] + found.get("statistics", 0)
        start = sum(found.get(key, 0) for key in firsts)
        return start + train["epochs"] * steps * each + scored * found.get("evaluation", 0)


def wanted(asked: bool | str, jobs: int, place: Place) -> bool:
    """Whether to try combinations: what sweep.preflight says, or whether it is cheap beside the sweep."""
    if asked != "auto":
        return bool(asked)
    return jobs >= JOBS_FOR_AUTO and place.local


def counted(chosen: Mapping[str, Part]) -> dict[str, int]:
    """{part: samples}."""
    return {name: len(part.ids) for name, part in chosen.items()}


def combination(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a config decides whether a step works and what it costs: the flat keys without SAME.

    A number of the optimizer's counts by its sign only: 1e-3 and 1e-4 are one combination, with and without
    weight decay are two.
    """
    found = {
        key: _sign(value) if key.startswith("optimizer.") else value
        for key, value in identity.flatten(config).items()
        if not any(key == same or key.startswith(f"{same}.") for same in SAME)
    }
    return {**found, "train.steps_per_epoch": config["train"]["steps_per_epoch"] is not None}


def _sign(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return "above 0" if value > 0 else "0" if value == 0 else "below 0"


def preflight(
    plugins: Plugins, place: Place, jobs: Sequence[Candidate], folder: Path, *, again: bool = False
) -> list[Tried]:
    """Try each combination of these jobs once, all in one process in `place`, and say what they will cost.

    What worked is remembered in the cache folder, by combination, data, code, versions and machine.

    Args:
        folder: where the process can write, on whatever machine it runs; what it leaves is removed.
        again: this sweep has launched before; combinations that are known are not said again.

    Raises:
        SegframeError: some combinations cannot take a step; all of them are named.
        Interrupted: somebody stopped it.
    """
    groups: dict[str, list[Candidate]] = {}
    for job in jobs:
        key = json.dumps([combination(job.config), job.data_hash], sort_keys=True, default=str)
        groups.setdefault(key, []).append(job)
    about = [identity.code_hash(), versions(plugins), place.machine()]
    known = {key: _remembered([key, *about]) for key in groups}
    missing = [key for key, found in known.items() if found is None]
    results = _run(place, [groups[key][0].config for key in missing], folder) if missing else []
    tried = {key: Tried(groups[key], found, True) for key, found in known.items() if found is not None}
    for key, found in zip(missing, results, strict=True):
        tried[key] = Tried(groups[key], found, False)
        if "error" not in found:
            remembered("preflight", [key, *about], lambda found=found: found)  # type: ignore[misc]
    ordered = [tried[key] for key in groups]
    failing = [one for one in ordered if "error" in one.found]
    if failing:
        raise _cannot(failing, varied([one.jobs[0].overrides for one in ordered]), len(ordered))
    if missing or not again:
        report(ordered, place.at_once)
    return ordered


class _NotKnown(Exception):
    pass


def _remembered(key: list[Any]) -> dict[str, Any] | None:
    def not_known() -> None:
        raise _NotKnown

    try:
        return remembered("preflight", key, not_known)
    except _NotKnown:
        return None


def _run(place: Place, configs: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    own = folder / "preflight"
    own.mkdir(parents=True, exist_ok=True)
    told = f"Preflight: {len(configs)} combination{'s' * (len(configs) > 1)} of this sweep, a few steps each."
    order = Order(
        ["-m", "segframe.preflight", str(own / "configs.json"), str(own / "results.json")], own / "log", told
    )
    try:
        write_json(own / "configs.json", configs)
        with stopping(place) as stop:
            ends = list(place.run([order]))
            stop.leave()
        results = json.loads((own / "results.json").read_text()) if (own / "results.json").exists() else []
        said = order.output.read_text(errors="replace").strip()[-2000:] if order.output.exists() else ""
    finally:
        shutil.rmtree(own, ignore_errors=True)
    if len(results) < len(configs):
        why = ends[0].why or f"the process that tried it ended with {ends[0].code}. {said}"
        results += [{"error": why}] * (len(configs) - len(results))
    return results


def _cannot(failing: Sequence[Tried], keys: Sequence[str], count: int) -> SegframeError:
    lines = []
    for one in failing:
        first = one.jobs[0]
        words = " ".join(word for word in first.overrides if word.partition("=")[0] in keys)
        others = f" and {len(one.jobs) - 1} more jobs" if len(one.jobs) > 1 else ""
        lines.append(f"job {first.number} ({words or 'as it is'}){others}: {one.found['error']}")
    return SegframeError(
        "sweep.preflight",
        expected="a step of every combination",
        got=f"{len(failing)} of {count} that cannot take one:\n  " + "\n  ".join(lines),
        remedy="No job was started. Change these or leave them out; sweep.preflight=false starts all.",
    )
