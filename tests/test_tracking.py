"""segframe.tracking with a real MLflow: nothing is lost while it is out of reach, nothing is told twice."""

import json
import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from segframe import SegframeError, hookimpl, outbox
from segframe.experiment import run_experiment
from segframe.interrupt import Interrupted
from segframe.outbox import Outbox
from segframe.plugins import track_command
from segframe.plugins.mlflow_run import MlflowRun
from segframe.plugins.mlflow_tracker import build_mlflow
from segframe.record import Record
from segframe.tracking import numbers

TIMINGS = ("images_per_second", "data_wait", "train_seconds")


@pytest.fixture
def store(tmp_path, empty_database):
    """The address of a store that can be reached."""
    folder = tmp_path / "Läufe"
    folder.mkdir()
    shutil.copy(empty_database, folder / "mlflow.db")
    return f"sqlite:///{folder}/mlflow.db"


@pytest.fixture
def tracked(config):
    """Makes a small run's config that is kept in a store."""

    def make(uri, *words, log_model=False):
        section = {"name": "mlflow", "uri": uri, "experiment": "segframe", "log_model": log_model}
        return config(*words) | {"tracker": section}

    return make


@pytest.fixture(autouse=True)
def heard(caplog):
    caplog.set_level(logging.INFO, "segframe")
    return caplog


def kept(uri):
    """The one run of a store: (status, params, {key: [(step, value), ...]}, artifacts, models, tags, id)."""
    client, experiment = build_mlflow(uri=uri)._connect()
    (run,) = client.search_runs([experiment])
    run_id = run.info.run_id
    history = {
        key: [(point.step, point.value) for point in client.get_metric_history(run_id, key)]
        for key in run.data.metrics
    }
    artifacts = sorted(
        file.path
        for folder in (None, "figures")
        for file in client.list_artifacts(run_id, folder)
        if not file.is_dir
    )
    models = [model.model_id for model in (run.outputs.model_outputs if run.outputs else [])]
    return run.info.status, run.data.params, history, artifacts, models, run.data.tags, run_id


def complete(uri, folder):
    """The store holds all of a finished run, each epoch once."""
    status, params, history, artifacts, _, tags, run_id = kept(uri)
    record = Record(folder)
    assert status == "FINISHED" and "error" not in tags
    assert params["optimizer.learning_rate"] == "0.0003" and params["model.name"] == "tiny"
    entries = record.read("history.json")
    for key, value in numbers(entries[0]).items():
        if key not in TIMINGS:  # an epoch that is done again takes another time
            assert history[key][0] == (1, pytest.approx(value))
    for key in ("train/loss", "val/dice", "learning_rate", "epoch"):
        assert [step for step, _ in history[key]] == [entry["epoch"] for entry in entries]
    for key, value in numbers(record.read("result.json")["scores"]).items():
        assert [found for _, found in history[f"final/{key}"]] == [pytest.approx(value)]
    for key, value in numbers(record.read("costs.json")).items():
        assert [found for _, found in history[f"cost/{key}"]] == [pytest.approx(value)]
    assert {"config.yaml", "record.json", "result.json", "costs.json", "per_image.csv", "run.log"} <= set(
        artifacts
    )
    assert {"figures/curves.png", "figures/test_overlays.png"} <= set(artifacts)
    assert tags["segframe.data_hash"] == record.read("record.json")["data"]["content_hash"]
    assert json.loads((folder / "tracker.json").read_text())["run_id"] == run_id


def test_a_store_that_cannot_be_reached_costs_a_line_and_the_run_is_handed_in_later(
    plugins, tracked, tmp_path, empty_database, caplog
):
    (tmp_path / "store").write_text("a file where the store's folder should be")
    uri = f"sqlite:///{tmp_path}/store/below/mlflow.db"
    result = run_experiment(plugins, tracked(uri, log_model=True))
    folder = Path(result.out_dir)
    assert Record(folder).status() == "finished" and result.scores["test/dice"] is not None
    for name in ("result.json", "history.json", "per_image.csv", "model.weights.h5", "saved_model"):
        assert (folder / name).exists()
    assert caplog.text.count("The tracker cannot be reached") == 1
    assert f"python -m segframe track {folder}" in caplog.text and "handed in." not in caplog.text

    assert track_command.run([str(folder)]) == 1
    assert "the tracker cannot be reached" in caplog.text

    (tmp_path / "store").unlink()
    (tmp_path / "store" / "below").mkdir(parents=True)
    shutil.copy(empty_database, tmp_path / "store" / "below" / "mlflow.db")
    assert track_command.run([str(folder)]) == 0
    assert f"{folder} is handed in." in caplog.text
    complete(uri, folder)
    before = kept(uri)
    assert len(before[4]) == 1  # the model
    assert track_command.run([str(folder)]) == 0
    assert kept(uri) == before


def test_a_server_that_refuses_is_no_reason_to_stop(plugins, tracked, caplog):
    result = run_experiment(plugins, tracked("http://127.0.0.1:9", "train.epochs=1"))
    assert Record(Path(result.out_dir)).status() == "finished"
    assert caplog.text.count("The tracker cannot be reached") == 1
    assert "python -m segframe track" in caplog.text


class InTheSecondEpoch:
    """Does something after the first step of the second epoch, once."""

    def __init__(self, what):
        self.what = what

    @hookimpl
    def segframe_callbacks(self, run):
        return [self]

    def on_step(self, step, logs):
        if step == 3 and self.what:
            what, self.what = self.what, None
            what()


def test_a_store_that_goes_away_in_the_middle_gets_the_rest_at_the_end(
    plugins, tracked, store, caplog, monkeypatch
):
    """Its table of scores is renamed, and is there again once that was noticed."""
    monkeypatch.setattr(outbox, "SHARE", 1.0)  # no pauses

    def sql(command):
        with sqlite3.connect(store.removeprefix("sqlite:///")) as connection:
            connection.execute(command)
        connection.close()

    class BackInTheThird(InTheSecondEpoch):
        @hookimpl
        def segframe_callbacks(self, run):
            self.run = run
            return [self]

        def on_step(self, step, logs):
            if step == 6:
                give_up = time.monotonic() + 60
                while not self.run.tracker.missed and time.monotonic() < give_up:
                    time.sleep(0.01)
                sql("ALTER TABLE hidden RENAME TO metrics")

    plugins.register(InTheSecondEpoch(lambda: sql("ALTER TABLE metrics RENAME TO hidden")))
    plugins.register(BackInTheThird(None))
    result = run_experiment(plugins, tracked(store))
    assert caplog.text.count("The tracker cannot be reached") == 1
    assert "The tracker can be reached again: the whole run is handed in." in caplog.text
    complete(store, Path(result.out_dir))


class AtTheEnd:
    """Does something when the training is over."""

    def __init__(self, what):
        self.close = what

    @hookimpl
    def segframe_callbacks(self, run):
        return [self]


def test_a_store_that_does_not_answer_stalls_no_step_and_gets_the_epochs_together(
    plugins, tracked, store, monkeypatch
):
    """Its first answer to an epoch comes when the training is over: waited for, that would be never."""
    over, told = threading.Event(), []
    plugins.register(AtTheEnd(over.set))
    epochs = MlflowRun.epochs

    def late(run, scores):
        told.append((sorted(scores), over.wait(120)))
        epochs(run, scores)

    monkeypatch.setattr(MlflowRun, "epochs", late)
    result = run_experiment(plugins, tracked(store, "train.epochs=5"))
    assert all(was_over for _, was_over in told) and len(told) <= 2
    assert [epoch for batch, _ in told for epoch in batch] == [1, 2, 3, 4, 5]
    complete(store, Path(result.out_dir))


def test_a_store_that_another_process_locks_meanwhile_stalls_no_step(plugins, tracked, store):
    writer = sqlite3.connect(store.removeprefix("sqlite:///"), isolation_level=None, check_same_thread=False)
    plugins.register(InTheSecondEpoch(lambda: writer.execute("BEGIN EXCLUSIVE")))
    plugins.register(AtTheEnd(lambda: writer.execute("ROLLBACK")))
    result = run_experiment(plugins, tracked(store))
    writer.close()
    complete(store, Path(result.out_dir))


def test_what_a_killed_process_had_not_told_yet_is_told_by_the_one_that_resumes(
    plugins, tracked, store, monkeypatch
):
    def stop():
        # As after SIGKILL: what is still to be told is gone.
        monkeypatch.setattr(Outbox, "close", lambda box: None)
        os.kill(os.getpid(), signal.SIGTERM)

    plugins.register(InTheSecondEpoch(stop))
    with monkeypatch.context() as within:
        within.setattr(Outbox, "_work", lambda box: None)
        with pytest.raises(Interrupted):
            run_experiment(plugins, tracked(store))
    assert "epoch" not in kept(store)[2]
    monkeypatch.undo()
    result = run_experiment(plugins, tracked(store))
    complete(store, Path(result.out_dir))


def broken():
    raise RuntimeError("broken on purpose")


@pytest.mark.parametrize(
    "what, error, status",
    [
        (broken, RuntimeError, "FAILED"),  # nothing is saved: the first epoch is done and told again
        (lambda: os.kill(os.getpid(), signal.SIGTERM), Interrupted, "KILLED"),
    ],
    ids=["failed", "stopped"],
)
def test_a_resumed_run_goes_on_under_its_id_and_no_step_is_told_twice(
    plugins, tracked, store, what, error, status
):
    plugins.register(InTheSecondEpoch(what))
    with pytest.raises(error):
        run_experiment(plugins, tracked(store))
    first = kept(store)
    assert first[0] == status and [step for step, _ in first[2]["epoch"]] == [1]
    assert first[5]["error"]
    result = run_experiment(plugins, tracked(store))
    complete(store, Path(result.out_dir))
    assert kept(store)[-1] == first[-1]


def test_a_run_that_was_killed_is_handed_in_as_failed_with_what_it_had(plugins, tracked, store, tmp_path):
    """SIGKILL leaves the folder of a run that is said to be running."""
    result = run_experiment(plugins, tracked(store, "train.epochs=1") | {"tracker": {"name": "none"}})
    folder = Path(result.out_dir)
    record = Record(folder)
    (folder / "result.json").unlink()
    record.set_status("running")
    record.write_config(record.config() | {"tracker": {"name": "mlflow", "uri": store}})
    assert track_command.run([str(folder)]) == 0
    status, _, history, *_, tags, _ = kept(store)
    assert (status, tags["error"]) == ("FAILED", "killed: the process is gone")
    assert [step for step, _ in history["train/loss"]] == [1]
    assert not any(key.startswith("final/") for key in history)


def test_what_is_no_runs_folder_cannot_be_handed_in(tmp_path):
    with pytest.raises(SegframeError, match="expected the folder of a run, got no config.yaml in it"):
        track_command.run([str(tmp_path)])


@pytest.mark.slow
@pytest.mark.bundled
def test_after_a_sigkill_every_epoch_is_in_mlflow_once(tmp_path, store):
    words = [f"tracker.uri='{store}'", "tracker.log_model=false", "model.filters=2", "model.depth=1",
             "train.epochs=12", "train.checkpoint_seconds=0", "dataset.samples_train=8", "dataset.size=32",
             f"run_dir='{tmp_path}/run'"]  # fmt: skip
    command = [sys.executable, "-m", "segframe", *words]
    history = tmp_path / "run" / "history.json"
    for epochs in (2, 9):
        killed = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
        give_up = time.monotonic() + 300
        while not history.exists() or len(json.loads(history.read_text())) < epochs:
            assert killed.poll() is None and time.monotonic() < give_up
            time.sleep(0.05)
        killed.kill()
        killed.wait()
    assert subprocess.run(command, cwd=tmp_path, stdout=subprocess.DEVNULL).returncode == 0
    status, _, told, *_ = kept(store)
    assert status == "FINISHED"
    for key in ("epoch", "train/loss", "val/dice"):
        assert [step for step, _ in told[key]] == list(range(1, 13))
