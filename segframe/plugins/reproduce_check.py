"""What of a recorded run can be had here: data, plugins, code, software, device. Before anything runs."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from segframe import identity, provenance
from segframe.errors import SegframeError
from segframe.plugins.reproduce_record import Recorded

if TYPE_CHECKING:
    from segframe.manager import Plugins


class Findings(NamedTuple):
    """What is not as it was."""

    missing: list[str]
    """Without these it cannot run, or would be another run."""
    plugins: list[str]
    """Plugins that the run had and that are not here: they may have acted on it."""
    differing: list[str]
    """With these its bits may be others."""
    hints: list[str]
    """Commands that bring what is missing."""


def examine(recorded: Recorded, plugins: Plugins, config: Mapping[str, Any], runs_dir: Path) -> Findings:
    """Compare the record with what is here; imports TensorFlow last, to see the devices.

    Args:
        config: of the run that is to come: the recorded one with its data where they are now.
        runs_dir: where that run's folds are dealt, if it has folds.
    """
    found = Findings([], [], [], [])
    then = recorded.facts
    now = provenance.versions(plugins)
    _plugins(found, plugins, then["versions"])
    libraries = [name for name in {**then["versions"], **now} if not name.startswith("plugin ")]
    _each(
        found, "versions", {n: then["versions"].get(n) for n in libraries}, {n: now.get(n) for n in libraries}
    )
    _code(found, then)
    _each(found, "environment", then.get("environment"), provenance.environment())
    _config_and_data(found, recorded, plugins, config, runs_dir)
    for change in then.get("went_on_elsewhere", []):
        found.differing.append(f"the run itself went on elsewhere after a stop: {change}")
    if not found.missing:
        _devices(found, then, config)
    return found


def _each(found: Findings, what: str, then: Mapping[str, Any] | None, now: Mapping[str, Any]) -> None:
    """One line for each key in which they differ; runs of before the record had it say nothing."""
    if then is not None:
        found.differing.extend(f"{what}: {told}" for told in identity.differences(now, then))


def _plugins(found: Findings, plugins: Plugins, versions: Mapping[str, str]) -> None:
    had = {key.removeprefix("plugin "): text for key, text in versions.items() if key.startswith("plugin ")}
    broken = {one.name: f", which cannot be imported: {one.error}" for one in plugins.broken}
    for name, distribution in had.items():
        here = plugins.distributions.get(name)
        if here is None:
            found.plugins.append(
                f"the plugin {name} of {distribution}{broken.get(name, ', which is not installed')}"
            )
        elif here != distribution:
            found.differing.append(f"plugin {name}: {distribution} -> {here}")
    for name in plugins.distributions.keys() - had.keys():
        found.differing.append(f"plugin {name} of {plugins.distributions[name]}, which the run had not")


def _code(found: Findings, then: Mapping[str, Any]) -> None:
    """Whether segframe's and the plugins' source is the run's, and how to get that."""
    if then["identity"]["code"] == identity.code_hash():
        return
    here = Path(provenance.__file__).parent
    recorded = then.get("git", {})
    commit, diff = recorded.get("segframe"), recorded.get("segframe_diff")
    now, now_diff = provenance.git(here)

    def told(one: str | None, changed: str | None) -> str:
        return (
            f"{one[:12]}{' with uncommitted changes' if changed else ''}" if one else "of no git repository"
        )

    found.differing.append(f"code of segframe or of a plugin: {told(commit, diff)} -> {told(now, now_diff)}")
    if commit is None:
        return
    try:
        root = Path(_out(here, "rev-parse", "--show-toplevel"))
        _out(here, "cat-file", "-e", f"{commit}^{{commit}}")
    except (OSError, subprocess.SubprocessError):
        found.hints.append(
            f"commit {commit} is in no repository here: git clone, then git checkout {commit[:12]}"
        )
        return
    tree = root.with_name(f"{root.name}-{commit[:12]}")
    steps = [f"git -C {shlex.quote(str(root))} worktree add {shlex.quote(str(tree))} {commit[:12]}"]
    if diff:
        steps.append(f"git -C {shlex.quote(str(tree))} apply CHANGES   (written by --diff CHANGES)")
    steps.append(f"make -C {shlex.quote(str(tree))} install, and reproduce with that one's .venv/bin/python")
    found.hints.append("the run's code: " + "; then ".join(steps))


def _config_and_data(
    found: Findings, recorded: Recorded, plugins: Plugins, config: Mapping[str, Any], runs_dir: Path
) -> None:
    from segframe.catalog import build
    from segframe.experiment import check_config
    from segframe.folds import seen_as_fold
    from segframe.split import check_same, parts

    try:
        check_config(plugins, config)
    except SegframeError as error:
        found.missing.append(f"what the config asks for: {_one_line(error)}")
        return
    wanted = recorded.facts["data"]
    try:
        with contextlib.chdir(recorded.started_in):
            dataset = build(plugins, "dataset", config["dataset"])
            if dataset.content_hash != wanted["content_hash"]:
                found.missing.append(
                    f"the data: the content hash is {dataset.content_hash[:12]} now, and was "
                    f"{wanted['content_hash'][:12]}: they were changed, or these are others"
                )
                return
            chosen = parts(seen_as_fold(dataset, {**config, "runs_dir": str(runs_dir)}), config["split"])
            check_same(chosen, wanted["samples"], "the samples")
    except SegframeError as error:
        found.missing.append(f"the data: {_one_line(error)}")


def _devices(found: Findings, then: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    from segframe.quiet import import_tensorflow

    import_tensorflow()
    machine, was = provenance.machine(), then.get("machine", {})
    if machine["gpus"] != was.get("gpus"):
        found.differing.append(f"GPUs: {was.get('gpus') or 'none'} -> {machine['gpus'] or 'none'}")
    if was.get("cpu") and machine["cpu"] != was["cpu"]:
        found.differing.append(f"processor: {was['cpu']} -> {machine['cpu']}")
    if "threads" not in then:
        found.differing.append("threads: the record does not say how many there were")
    if machine["gpus"] and config["train"].get("determinism") != "strict":
        found.differing.append(
            "train.determinism=auto on a GPU: its kernels may add in another order each time"
        )


def _one_line(error: SegframeError) -> str:
    return f"{error.subject}: expected {error.expected}, got {error.got}"


def _out(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()
