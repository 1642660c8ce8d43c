"""What a search comes to: the best trial with its command, which keys mattered, all of it in study.json."""

from __future__ import annotations

import shlex
import warnings
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from hydra_plugins.segframe_optuna._search import Search, outcome_of
from segframe.atomic import write_json

LEAST_FOR_IMPORTANCE = 10  # finished trials; of fewer it says nothing


class Report:
    """segframe_launcher.sweep's Conclusion of a search."""

    def __init__(self, search: Search):
        self.search = search

    def _best(self) -> FrozenTrial | None:
        done = self.search.trials(TrialState.COMPLETE)
        return max(done, key=lambda trial: (trial.value, -trial.number)) if done else None

    def scores(self) -> dict[str, float]:
        """For the sweep's run in the tracker."""
        best = self._best()
        return {} if best is None else {"best/trial": float(best.number)}

    def tags(self) -> dict[str, str]:
        best = self._best()
        if best is None:
            return {}
        return dict(word.split("=", 1) for word in (f"best.{word}" for word in self.search.words(best)))

    def lines(self) -> list[str]:
        """Write study.json, and return what is to be printed below the sweep's table."""
        search, best, importance = self.search, self._best(), self._importance()
        again = search.tried_again()
        states = {
            state: sum(trial.number not in again for trial in search.trials(state)) for state in TrialState
        }
        told = [
            f"study {search.name}: {states[TrialState.COMPLETE]} trials finished, "
            f"{states[TrialState.PRUNED]} pruned, {states[TrialState.FAIL]} failed"
        ]
        if best is not None:
            told += [f"best: trial {best.number}, val/dice {best.value:.4f}", f"  {self._command(best)}"]
        if states[TrialState.RUNNING] or search.counted() < search.settings["n_trials"]:
            own = (
                "" if search.settings["study"] else f" and hydra.sweep.dir={shlex.quote(str(search.folder))}"
            )
            told.append(f"The same command{own} goes on with it.")
        if importance:
            shares = ", ".join(f"{key} {share:.2f}" for key, share in importance.items())
            told.append(f"importance (PED-ANOVA, shares of the best tenth): {shares}")
        found = {
            "study": search.name,
            "storage": search.uri,
            "objective": "val/dice",
            "direction": "maximize",
            "best": None if best is None else {**self._trial(best), "command": self._command(best)},
            "importance": importance,
            "trials": [self._trial(trial) for trial in search.trials()],
        }
        write_json(search.folder / "study.json", found)
        return told

    def _command(self, trial: FrozenTrial) -> str:
        return "python -m segframe " + " ".join(shlex.quote(word) for word in self.search.told(trial))

    def _trial(self, trial: FrozenTrial) -> dict[str, Any]:
        known = outcome_of(trial)
        return {
            "number": trial.number,
            "state": trial.state.name,
            "val/dice": trial.value if trial.state == TrialState.COMPLETE else None,
            "overrides": self.search.words(trial) if trial.params.keys() == self.search.space.keys() else [],
            "epochs": [[epoch, value] for epoch, value in sorted(trial.intermediate_values.items())],
            "run": known["run"],
            "error": known["error"],
        }

    def _importance(self) -> dict[str, float]:
        """The share of each key in what tells the better trials from the others; empty with few trials."""
        if len(self.search.space) < 2 or len(self.search.trials(TrialState.COMPLETE)) < LEAST_FOR_IMPORTANCE:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = optuna.importance.get_param_importances(self.search.study)
            except (ValueError, RuntimeError):  # the values are all the same, say
                return {}
        return dict(sorted(found.items(), key=lambda entry: -entry[1]))
