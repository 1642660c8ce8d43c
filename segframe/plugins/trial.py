"""A run that is a trial of an Optuna study reports val/dice after each epoch, and ends when it is hopeless.

Optuna is imported in such a run only (hydra_plugins/segframe_optuna starts them).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from segframe.hooks import hookimpl
from segframe.plugins.mlflow_store import for_mlflow
from segframe.record import Record

if TYPE_CHECKING:
    import optuna

    from segframe.experiment import Run

log = logging.getLogger("segframe")

OBJECTIVE = "val/dice"
LOCKED_SECONDS = 60  # how long another process may hold an SQLite file before it counts as out of reach


@hookimpl
def segframe_callbacks(run: Run) -> list[Any]:
    trial = run.config["sweep"]["trial"]
    return [] if trial is None else [Reporter(run, trial)]


def open_storage(uri: str) -> optuna.storages.RDBStorage:
    """The storage of studies; an SQLite file's path is read as it stands, not percent-encoded."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    arguments = {"connect_args": {"timeout": LOCKED_SECONDS}} if uri.startswith("sqlite:") else {}
    return optuna.storages.RDBStorage(for_mlflow(uri), engine_kwargs=arguments)


def make_pruner(settings: Mapping[str, Any], epochs: int) -> optuna.pruners.BasePruner:
    """The pruner that the settings name; its steps are finished epochs, counted from 1.

    Args:
        settings: pruner, pruner_startup_trials and min_epochs, as in conf/hydra/sweeper/optuna.yaml.
        epochs: of a whole run.
    """
    from optuna import pruners

    if settings["pruner"] == "median":
        return pruners.MedianPruner(settings["pruner_startup_trials"], settings["min_epochs"])
    if settings["pruner"] == "hyperband":
        return pruners.HyperbandPruner(min(settings["min_epochs"], epochs), epochs)
    return pruners.NopPruner()


class Reporter:
    """Tells the study of each epoch; a storage out of reach is no reason that a run fails."""

    def __init__(self, run: Run, trial: Mapping[str, Any]):
        self.run, self.number, self.epochs = run, trial["number"], run.config["train"]["epochs"]
        self._try(lambda: self._open(trial))

    def _open(self, trial: Mapping[str, Any]) -> None:
        import optuna

        self.storage = open_storage(trial["storage"])
        pruner = make_pruner(trial, self.epochs)
        self.study = optuna.load_study(study_name=trial["study"], storage=self.storage, pruner=pruner)
        study_id = self.storage.get_study_id_from_name(trial["study"])
        self.id = self.storage.get_trial_id_from_study_id_trial_number(study_id, self.number)
        # A run that goes on has finished epochs already; the pruner compares with what it knows of them.
        for entry in Record(self.run.out_dir).read("history.json") or []:
            self._report(entry["epoch"], entry.get(OBJECTIVE))

    def on_epoch(self, epoch: int, logs: Mapping[str, Any]) -> None:
        if self.reachable:
            self._try(lambda: self._judge(epoch + 1, logs.get(OBJECTIVE)))

    def _judge(self, epoch: int, score: float | None) -> None:
        self._report(epoch, score)
        if epoch < self.epochs and self.study.pruner.prune(self.study, self.storage.get_trial(self.id)):
            told = "undefined" if score is None else f"{score:.4f}"
            self.run.interrupt.prune(epoch, f"{OBJECTIVE} {told} is not among the better trials")

    def _report(self, epoch: int, score: float | None) -> None:
        trial = self.storage.get_trial(self.id)
        if score is not None and epoch not in trial.intermediate_values and not trial.state.is_finished():
            self.storage.set_trial_intermediate_value(self.id, epoch, score)

    def _try(self, what: Any) -> None:
        self.reachable = True
        try:
            what()
        except Exception as error:
            self.reachable = False
            log.warning(
                "Trial %d cannot reach its study (%s: %s). The run goes on and is not pruned.",
                self.number,
                type(error).__name__,
                error,
            )
