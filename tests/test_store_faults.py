"""An MLflow store that others hold, or whose disk is full for a while: the run goes on and hands in later."""

import logging
import resource
import shutil
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from segframe import hookimpl
from segframe.experiment import run_experiment
from segframe.plugins import track_command
from segframe.plugins.mlflow_tracker import build_mlflow
from segframe.record import Record


@pytest.fixture
def store(tmp_path, empty_database):
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return tmp_path / "mlflow.db"


@pytest.fixture
def tracked(config, store):
    section = {"name": "mlflow", "uri": f"sqlite:///{store}", "experiment": "segframe", "log_model": False}
    return config() | {"tracker": section}


@pytest.fixture(autouse=True)
def heard(caplog):
    caplog.set_level(logging.INFO, "segframe")


class AtStep:
    """Calls functions after the steps of the run that they stand for; an epoch has three."""

    def __init__(self, **what):
        self.what = {int(step.strip("_")): function for step, function in what.items()}

    @hookimpl
    def segframe_callbacks(self, run):
        return [self]

    def on_step(self, step, logs):
        self.what.get(step, lambda: None)()


def once_said(caplog, what):
    """Does it once the run has noticed; its tracker is told by a thread that takes its time."""

    def wait():
        end = time.monotonic() + 120
        while "The tracker cannot be reached" not in caplog.text and time.monotonic() < end:
            time.sleep(0.1)
        what()

    return wait


def complete(store, folder):
    """The store holds each epoch and the final scores once."""
    client, experiment = build_mlflow(uri=f"sqlite:///{store}")._connect()
    (run,) = client.search_runs([experiment])
    assert run.info.status == "FINISHED" and "error" not in run.data.tags
    steps = [point.step for point in client.get_metric_history(run.info.run_id, "val/dice")]
    assert steps == [1, 2, 3]
    assert run.data.metrics["final/val/dice"] == pytest.approx(
        Record(folder).read("result.json")["objective"]
    )


@pytest.mark.slow  # SQLite's waiting
@pytest.mark.parametrize("until", ["the end", "longer"])
def test_a_store_that_another_writer_locks(plugins, tracked, store, caplog, until):
    """From the second epoch on; MLflow waits for SQLite's five seconds, then the run goes on without it."""
    writer = sqlite3.connect(store, isolation_level=None, check_same_thread=False)
    release = once_said(caplog, writer.rollback)

    def hold():
        writer.execute("BEGIN EXCLUSIVE")

    plugins.register(AtStep(_3=hold, _8=release if until == "the end" else lambda: None))
    try:
        result = run_experiment(plugins, tracked)
    finally:
        writer.close()
    folder = Path(result.out_dir)
    assert Record(folder).status() == "finished" and result.objective is not None
    assert caplog.text.count("The tracker cannot be reached") >= 1 and "locked" in caplog.text
    if until == "longer":
        assert f"python -m segframe track {folder}" in caplog.text
        assert track_command.run([str(folder)]) == 0
    else:
        assert "The tracker can be reached again: the whole run is handed in." in caplog.text
    complete(store, folder)


def test_a_lock_of_a_moment_is_waited_for(plugins, tracked, store, caplog):
    writer = sqlite3.connect(store, isolation_level=None, check_same_thread=False)

    def hold():
        writer.execute("BEGIN EXCLUSIVE")
        threading.Timer(1, writer.rollback).start()

    plugins.register(AtStep(_5=hold))
    result = run_experiment(plugins, tracked)
    writer.close()
    assert "cannot be reached" not in caplog.text
    complete(store, Path(result.out_dir))


def test_a_disk_that_is_full_for_a_while(plugins, tracked, store, caplog):
    """No write reaches beyond 16 KiB into any file: what SQLite gets is what a full disk gives it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill():
        resource.setrlimit(resource.RLIMIT_FSIZE, (16 << 10, before[1]))

    def free():
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    plugins.register(AtStep(_3=fill, _8=once_said(caplog, free)))
    try:
        result = run_experiment(plugins, tracked)
    finally:
        free()
    assert "The tracker cannot be reached" in caplog.text
    assert "full" in caplog.text or "disk I/O error" in caplog.text
    assert "The tracker can be reached again: the whole run is handed in." in caplog.text
    complete(store, Path(result.out_dir))
