"""The study of a search: opened or gone on with, asked for trials, told what came of them."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import psutil
from optuna.trial import FrozenTrial, Trial, TrialState

from hydra_plugins.segframe_launcher.sweep import Job
from hydra_plugins.segframe_optuna.samplers import grid_points, make_sampler
from hydra_plugins.segframe_optuna.settings import Settings
from hydra_plugins.segframe_optuna.space import Space
from segframe.errors import SegframeError
from segframe.identity import code_hash, is_outside
from segframe.plugins.trial import OBJECTIVE, make_pruner, open_storage
from segframe.record import Record

log = logging.getLogger("segframe")

PRUNER = ("pruner", "pruner_startup_trials", "min_epochs")
RETRY_OF, OWNER, OUTCOME = "retry of", "owner", "outcome"  # attributes of a trial


class Search:
    """One study; its trials' attributes hold what a table needs, so that a search can go on anywhere."""

    def __init__(
        self,
        settings: Settings,
        space: Space,
        fixed: list[str],
        folder: Path,
        uri: str,
        config: Mapping[str, Any],
    ):
        self.settings, self.space, self.fixed, self.uri = settings, space, fixed, uri
        self.essential = [word for word in fixed if not is_outside(word.partition("=")[0].lstrip("+~"))]
        """Of the fixed overrides, those that change what is computed."""
        self.folder, self.name = folder, settings["study"] or folder.name
        self.distributions = {key: part.distribution() for key, part in space.items()}
        try:
            if uri.startswith("sqlite:///"):
                Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
            self.study = optuna.create_study(
                study_name=self.name,
                storage=open_storage(uri),
                direction="maximize",
                pruner=make_pruner(settings, config["train"]["epochs"]),
                load_if_exists=True,
            )
        except Exception as error:
            raise SegframeError(
                "hydra.sweeper.storage",
                expected="a database that can be opened",
                got=f"{uri}: {type(error).__name__}: {str(error).splitlines()[0]}",
                remedy="Name another: hydra.sweeper.storage=sqlite:///PATH.",
            ) from error
        self._same_as_before()

    def _same_as_before(self) -> None:
        """Values of other searches are no help to this one."""
        ours: dict[str, Any] = {
            "space": {key: [type(part).__name__, *map(_plain, part)] for key, part in self.space.items()},
            "fixed": sorted(self.essential),
        }
        theirs = self.study.user_attrs.get("search")
        if theirs is None:
            self.study.set_user_attr("search", ours)
            self.study.set_user_attr("code", code_hash())
        elif theirs != ours:
            keys = sorted(self.space.keys() | theirs["space"].keys())
            differing = [key for key in keys if ours["space"].get(key) != theirs["space"].get(key)]
            differing += sorted(set(self.essential) ^ set(theirs["fixed"]))
            raise SegframeError(
                f"study {self.name!r}",
                expected="the search that it began with",
                got=f"one that differs in {', '.join(differing)}",
                remedy="Repeat that command, or name another hydra.sweeper.study (and hydra.sweep.dir).",
            )
        elif self.study.user_attrs.get("code") != code_hash():
            log.warning("segframe or a plugin has changed since this study began: its values are of both.")

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states or None)

    def counted(self) -> int:
        """Trials that count for n_trials: all that ended or run, but those that are tried again."""
        again, waiting = self.tried_again(), TrialState.WAITING
        return sum(trial.number not in again and trial.state != waiting for trial in self.trials())

    def tried_again(self) -> set[int]:
        """Numbers of failed trials whose values a later one has, or will have."""
        return {trial.user_attrs[RETRY_OF] for trial in self.trials() if RETRY_OF in trial.user_attrs}

    def left_running(self) -> list[FrozenTrial]:
        """Trials of a search that was killed: the same ones are run again, from their checkpoints."""
        left = []
        for trial in self.trials(TrialState.RUNNING):
            # A study in the sweep's folder is nobody else's: its lock is held.
            if self.settings["storage"] is not None and _alive(trial.user_attrs.get(OWNER)):
                log.info("Trial %d is left to the process that runs it.", trial.number)
                continue
            left.append(trial)
            self._own(trial)
        if left:
            log.info("Going on with trials %s, which were cut off.", ", ".join(str(t.number) for t in left))
        return left

    def try_failed_again(self) -> None:
        """Queue the values of failed trials again, each once."""
        for trial in self.trials(TrialState.FAIL):
            if trial.params and trial.number not in self.tried_again():
                self.study.enqueue_trial(trial.params, user_attrs={RETRY_OF: trial.number})

    def ask(self, count: int) -> list[FrozenTrial]:
        """New trials; fewer where a grid is at its end."""
        asked: list[FrozenTrial] = []
        for _ in range(count):
            self.study.sampler = make_sampler(self.settings, self.space, len(self.trials()))
            if self.settings["sampler"] == "grid" and not self._queue_point():
                log.info("No further trial: the grid is done.")
                break
            trial: Trial = self.study.ask(self.distributions)
            self._own(trial)
            asked.append(self.trials()[trial.number])
        return asked

    def _queue_point(self) -> bool:
        """Have the next point of the grid asked for; False where none is left."""
        if self.trials(TrialState.WAITING):
            return True
        tried = [trial.params for trial in self.trials()]
        point = next((point for point in grid_points(self.space) if point not in tried), None)
        if point is not None:
            self.study.enqueue_trial(point)
        return point is not None

    def words(self, trial: FrozenTrial) -> list[str]:
        """A trial's values as on the command line."""
        return [f"{key}={part.word(trial.params[key])}" for key, part in self.space.items()]

    def overrides(self, trial: FrozenTrial) -> list[str]:
        """All of a job's overrides: with them goes where it reports to."""
        own: dict[str, Any] = {"study": self.name, "storage": self.uri, "number": trial.number}
        own |= {key: self.settings[key] for key in PRUNER}  # type: ignore[literal-required]
        told = ",".join(f"{key}:{_quoted(value)}" for key, value in own.items())
        return [*self.fixed, *self.words(trial), f"sweep.trial={{{told}}}"]

    def tell(self, trial: FrozenTrial, job: Job) -> None:
        """What came of a trial's job."""
        handle = Trial(self.study, trial._trial_id)
        known = self.trials()[trial.number].intermediate_values
        history = (Record(Path(job.out_dir)).read("history.json") if job.out_dir else None) or []
        for entry in history:  # what the job could not report, or a run of before has done
            if entry["epoch"] not in known and entry.get(OBJECTIVE) is not None:
                handle.report(entry[OBJECTIVE], entry["epoch"])
        valueless = job.objective is None and job.pruned is None
        outcome = {
            "scores": {key: job.scores.get(key) for key in ("test/dice", "test/iou")},
            "run": job.out_dir,
            "error": job.error or (f"no {OBJECTIVE}" if valueless else ""),
            "pruned": job.pruned,
        }
        self._remember(trial, OUTCOME, outcome)
        if outcome["error"]:
            self.study.tell(trial.number, state=TrialState.FAIL)
        elif job.pruned is not None:
            self.study.tell(trial.number, state=TrialState.PRUNED)
        else:
            self.study.tell(trial.number, job.objective)

    def told_impossible(self, trial: FrozenTrial, error: SegframeError) -> Job:
        """A trial whose values do not go together."""
        job = Job(trial.number, self._told(trial), None, {}, str(error), "")
        self.tell(trial, job)
        return job

    def jobs(self) -> list[Job]:
        """The jobs of trials that have ended, as the table shows them; a second try stands for both."""
        found, again = [], self.tried_again()
        for trial in self.trials():
            if trial.number in again:
                continue
            if trial.state.is_finished() and trial.params.keys() == self.space.keys():
                value = trial.value if trial.state == TrialState.COMPLETE else None
                known = outcome_of(trial)
                told = trial.number, self._told(trial), value, known["scores"], known["error"], known["run"]
                found.append(Job(*told, known["pruned"]))
        return found

    def _told(self, trial: FrozenTrial) -> list[str]:
        return [*self.fixed, *self.words(trial)]

    def _own(self, trial: Trial | FrozenTrial) -> None:
        process = psutil.Process()
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "started": process.create_time()}
        self._remember(trial, OWNER, owner)

    def _remember(self, trial: Trial | FrozenTrial, key: str, value: Any) -> None:
        self.study._storage.set_trial_user_attr(trial._trial_id, key, value)


def outcome_of(trial: FrozenTrial) -> dict[str, Any]:
    """scores, run, error and pruned of a trial, as they were told; of one that nobody told, nothing."""
    return trial.user_attrs.get(OUTCOME) or {"scores": {}, "run": "", "error": "", "pruned": None}


def _alive(owner: Mapping[str, Any] | None) -> bool:
    """Whether the process that asked for a trial may still run it; of other machines nobody here knows."""
    if owner is None:
        return False
    if owner["host"] != socket.gethostname():
        return True
    try:
        return abs(psutil.Process(owner["pid"]).create_time() - owner["started"]) < 1
    except psutil.NoSuchProcess:
        return False


def _quoted(value: str | int) -> str:
    """A value inside an override of Hydra's."""
    if isinstance(value, int):
        return str(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
