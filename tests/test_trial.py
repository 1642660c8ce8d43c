"""A run that is a trial of an Optuna study: real studies in SQLite, real runs, pruned for real."""

import shutil
import sqlite3
import subprocess
import sys
import threading

import pytest

from segframe import hookimpl
from segframe.experiment import run_experiment
from segframe.interrupt import Pruned
from segframe.plugins.mlflow_tracker import build_mlflow
from segframe.plugins.trial import make_pruner, open_storage
from segframe.record import Record
from segframe.tracking import hand_in

optuna = pytest.importorskip("optuna", reason="pip install -e '.[optuna]'")


@pytest.fixture
def study(tmp_path):
    """A study in which two trials have finished, far better than any run here."""
    folder = tmp_path / "Suche 100%"
    folder.mkdir()
    uri = f"sqlite:///{folder}/study.db"
    made = optuna.create_study(study_name="search", storage=open_storage(uri), direction="maximize")
    for _ in range(2):
        trial = made.ask()
        for epoch in range(1, 5):
            trial.report(0.99, epoch)
        made.tell(trial, 0.99)
    made.uri = uri
    return made


def trial_of(study, **settings):
    given = {"pruner": "median", "pruner_startup_trials": 1, "min_epochs": 2} | settings
    return {"study": "search", "storage": study.uri, "number": study.ask().number, **given}


def as_trial(config, trial):
    return config | {"sweep": config["sweep"] | {"trial": trial}}


def test_a_hopeless_run_ends_as_pruned_and_goes_on_exactly_when_it_is_wanted_after_all(
    plugins, config, study, tmp_path, empty_database
):
    (tmp_path / "store").mkdir()
    shutil.copy(empty_database, tmp_path / "store" / "mlflow.db")
    tracker = build_mlflow(uri=f"sqlite:///{tmp_path}/store/mlflow.db", log_model=False)
    section = {"name": "mlflow", "uri": tracker.uri, "experiment": "segframe", "log_model": False}
    whole = run_experiment(plugins, config(f"runs_dir='{tmp_path}/whole'"))
    ours = config() | {"tracker": section}
    with pytest.raises(Pruned, match=r"pruned at epoch 2: val/dice 0\.\d+ is not among the better"):
        run_experiment(plugins, as_trial(ours, trial_of(study)))
    (folder,) = (tmp_path / "runs").glob("tiny-*")
    record = Record(folder)
    assert record.read("status.json")["state"] == "pruned" and record.read("result.json") is None
    history = Record(tmp_path / "whole" / folder.name).read("history.json")
    scores = {entry["epoch"]: entry["val/dice"] for entry in history}
    assert study.trials[2].intermediate_values == {1: scores[1], 2: scores[2]}

    def kept():
        client, experiment = tracker._connect()
        (run,) = client.search_runs([experiment])
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "val/dice")]
        return run.info.status, run.data.tags.get("error", ""), steps

    status, error, steps = kept()
    assert (status, error[:17], steps) == ("KILLED", "pruned at epoch 2", [1, 2])
    hand_in(tracker, record)  # told from the folder, it is no other
    assert kept() == (status, error, steps)

    result = run_experiment(plugins, ours)
    assert result.scores == whole.scores and result.per_image == whole.per_image
    assert kept() == ("FINISHED", "", [1, 2, 3])


@pytest.mark.slow
def test_a_run_that_was_cut_off_reports_the_epochs_of_before_too(plugins, config, study):
    class StopsOnce:
        left = 1

        @hookimpl
        def segframe_callbacks(self, run):
            return [self]

        def on_step(self, step, logs):
            if step == 4 and self.left:
                self.left = 0
                raise RuntimeError("cut off")

    plugins.register(StopsOnce())
    ours = config("train.checkpoint_seconds=0")
    with pytest.raises(RuntimeError):
        run_experiment(plugins, ours)
    trial = trial_of(study, pruner="none")
    result = run_experiment(plugins, as_trial(ours, trial))
    reported = study.trials[2].intermediate_values
    assert list(reported) == [1, 2, 3] and max(reported.values()) == result.objective
    study.tell(2, result.objective)
    run_experiment(plugins, as_trial(config("seed=1"), trial))  # the record of a trial, repeated by hand
    assert study.trials[2].intermediate_values == reported


def test_a_study_out_of_reach_costs_a_line(plugins, config, study, caplog, monkeypatch):
    """Another process writes to the SQLite file for longer than the run is willing to wait."""
    monkeypatch.setattr("segframe.plugins.trial.LOCKED_SECONDS", 0.1)
    trial = trial_of(study)
    writer = sqlite3.connect(study.uri.removeprefix("sqlite:///"), isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    try:
        result = run_experiment(plugins, as_trial(config(), trial))
    finally:
        writer.close()
    assert result.objective is not None
    assert caplog.text.count("Trial 2 cannot reach its study") == 1 and "is not pruned" in caplog.text


def test_a_study_that_is_locked_for_a_moment_is_waited_for(study):
    writer = sqlite3.connect(
        study.uri.removeprefix("sqlite:///"), isolation_level=None, check_same_thread=False
    )
    writer.execute("BEGIN EXCLUSIVE")
    threading.Timer(1, writer.rollback).start()
    study.tell(study.ask(), 0.5)
    assert study.trials[-1].value == 0.5


@pytest.mark.parametrize(
    "name, pruned",
    [("median", [False, False, True, True]), ("hyperband", None), ("none", [False] * 4)],
)
def test_no_trial_is_pruned_before_its_time(study, name, pruned):
    """Of a run of 9 epochs, `min_epochs` of 3; hyperband looks at some epochs only, by bracket."""
    settings = {"pruner": name, "pruner_startup_trials": 1, "min_epochs": 3}
    pruner, trial, found = make_pruner(settings, 9), study.ask(), []
    for epoch in range(1, 5):
        trial.report(0.1, epoch)
        found.append(bool(pruner.prune(study, study.trials[trial.number])))
    assert found[:2] == [False, False]
    if pruned is not None:
        assert found == pruned


def test_a_run_that_is_no_trial_imports_no_optuna():
    code = (
        "import sys\nfrom segframe.manager import plugin_manager\n"
        "from types import SimpleNamespace\n"
        "run = SimpleNamespace(config={'sweep': {'trial': None}, 'train': {'score_test_at': []}})\n"
        "from segframe.plugins.trial import segframe_callbacks\n"
        "assert segframe_callbacks(run) == []\nplugin_manager()\n"
        "sys.exit('optuna' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
