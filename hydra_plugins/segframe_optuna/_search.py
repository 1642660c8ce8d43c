"""The study of a search, asked for trials and told what came of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, Trial, TrialState

from hydra_plugins.segframe_launcher.sweep import Job
from hydra_plugins.segframe_optuna._samplers import make_sampler
from hydra_plugins.segframe_optuna._study import open_study
from hydra_plugins.segframe_optuna.owner import alive, this_process
from hydra_plugins.segframe_optuna.settings import Settings
from hydra_plugins.segframe_optuna.space import Space, grid_points
from segframe.errors import SegframeError
from segframe.plugins.trial import OBJECTIVE, make_pruner
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
        self.folder, self.name = folder, settings["study"] or folder.name
        self.distributions = {key: part.distribution() for key, part in space.items()}
        pruner = make_pruner(settings, config["train"]["epochs"])
        self.study = open_study(self.name, uri, pruner, space, fixed)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states or None)

    def counted(self) -> int:
        """Trials that count for n_trials: all that ended or run, but those that are tried again."""
        again = self.tried_again()
        return sum(trial.number not in again and self._has_values(trial) for trial in self.trials())

    def _has_values(self, trial: FrozenTrial) -> bool:
        """Not while it waits, nor if the process was killed while they were being chosen."""
        return trial.params.keys() == self.space.keys()

    def tried_again(self) -> set[int]:
        """Numbers of failed trials whose values a later one has, or will have."""
        return {trial.user_attrs[RETRY_OF] for trial in self.trials() if RETRY_OF in trial.user_attrs}

    def left_running(self) -> list[FrozenTrial]:
        """Trials of a search that was killed: the same ones are run again, from their checkpoints."""
        left = []
        for trial in self.trials(TrialState.RUNNING):
            # A study in the sweep's folder is nobody else's: its lock is held.
            if self.settings["storage"] is not None and alive(trial.user_attrs.get(OWNER)):
                log.info("Trial %d is left to the process that runs it.", trial.number)
                continue
            if not self._has_values(trial):
                self.study.tell(trial.number, state=TrialState.FAIL)
                continue
            left.append(trial)
            self._own(trial)
        if left:
            log.info("Going on with trials %s, which were cut off.", ", ".join(str(t.number) for t in left))
        return left

    def try_failed_again(self) -> None:
        """Queue the values of failed trials again, each once."""
        for trial in self.trials(TrialState.FAIL):
            if self._has_values(trial) and trial.number not in self.tried_again():
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
        job = Job(trial.number, self.told(trial), None, {}, str(error), "")
        self.tell(trial, job)
        return job

    def jobs(self) -> list[Job]:
        """The jobs of trials that have ended, as the table shows them; a second try stands for both."""
        found, again = [], self.tried_again()
        for trial in self.trials():
            if trial.number in again:
                continue
            if trial.state.is_finished() and self._has_values(trial):
                value = trial.value if trial.state == TrialState.COMPLETE else None
                known = outcome_of(trial)
                told = trial.number, self.told(trial), value, known["scores"], known["error"], known["run"]
                found.append(Job(*told, known["pruned"]))
        return found

    def told(self, trial: FrozenTrial) -> list[str]:
        fixed = [word for word in self.fixed if not word.startswith("sweep.")]
        return [*fixed, *self.words(trial)]

    def _own(self, trial: Trial | FrozenTrial) -> None:
        self._remember(trial, OWNER, this_process())

    def _remember(self, trial: Trial | FrozenTrial, key: str, value: Any) -> None:
        self.study._storage.set_trial_user_attr(trial._trial_id, key, value)


def outcome_of(trial: FrozenTrial) -> dict[str, Any]:
    """scores, run, error and pruned of a trial, as they were told; of one that nobody told, nothing."""
    return trial.user_attrs.get(OUTCOME) or {"scores": {}, "run": "", "error": "", "pruned": None}


def _quoted(value: str | int) -> str:
    """A value inside an override of Hydra's."""
    if isinstance(value, int):
        return str(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
