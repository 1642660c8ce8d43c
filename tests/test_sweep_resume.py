"""A sweep started again: what it finds of before, with a real run and a real MLflow."""

import json
import math
import shutil
from pathlib import Path

import pytest

from hydra_plugins.segframe_launcher import resume
from hydra_plugins.segframe_launcher.sweep import Sweep
from segframe import SegframeError
from segframe.experiment import run_experiment
from segframe.manager import plugin_manager
from segframe.plugins.mlflow_tracker import build_mlflow
from segframe.record import Record


@pytest.fixture
def ended(plugins, config):
    """(its config, its name, its record) of a small run."""
    ours = config("train.epochs=1")
    record = Record(Path(run_experiment(plugins, ours).out_dir))
    return ours, record.folder.name, record


def test_only_what_ended_by_itself_is_left_as_it_is(ended):
    ours, name, record = ended
    known = resume.outcome(ours, name, retry_failed=False)
    assert known.error == "" and known.result["objective"] == record.read("result.json")["objective"]
    record.set_status("failed", "ValueError: mine")
    known = resume.outcome(ours, name, retry_failed=False)
    assert known.error.startswith("ValueError: mine (before; sweep.retry_failed=true") and not known.result
    assert resume.outcome(ours, name, retry_failed=True) is None
    for state, error in [
        ("failed", "ended by SIGKILL: perhaps"),
        ("running", ""),
        ("interrupted", ""),
        ("pruned", ""),
    ]:
        record.set_status(state, error)
        assert resume.outcome(ours, name, retry_failed=False) is None
    record.set_status("finished")
    assert resume.outcome(ours, "tiny-hdf5-000000000000", retry_failed=False) is None
    never = ours | {"train": ours["train"] | {"resume": "never"}}
    assert resume.outcome(never, name, retry_failed=False) is None
    own = ours | {"run_dir": str(record.folder)}
    assert resume.outcome(own, name, retry_failed=False).record.folder == record.folder
    assert resume.outcome(own, "tiny-hdf5-000000000000", retry_failed=False) is None


@pytest.fixture
def sections(tmp_path, empty_database):
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return {"tracker": {"name": "mlflow", "uri": f"sqlite:///{tmp_path}/mlflow.db"}}


def test_the_same_jobs_are_the_same_sweep_and_its_run_in_mlflow_is_one(ended, sections, tmp_path, capsys):
    _, name, record = ended
    plugins, parents = plugin_manager(installed=False), []
    for stamp, names in [("1", ["a", "b"]), ("2", ["b"]), ("3", ["b", "a"])]:
        fresh = tmp_path / "sweeps" / stamp
        fresh.mkdir(parents=True)
        (fresh / "multirun.yaml").write_text("")
        folder = resume.earlier(fresh, names)
        assert fresh.exists() == (stamp != "3")  # what Hydra made for nothing is gone
        sweep = Sweep(plugins, folder, sections, names)
        with pytest.raises(SegframeError, match="expected a sweep that no other process is working on"):
            Sweep(plugins, folder, sections, names)
        known = resume.Outcome(record, record.read("result.json"), "")
        assert sweep.keep_job(0, ["seed=0"], known) == record.read("result.json")["objective"]
        assert math.isnan(sweep.keep_job(1, ["seed=1"], known._replace(result={}, error="it broke")))
        assert sweep.end() == 1
        parents.append(sweep.parent)
    assert parents[0] == parents[2] != parents[1]
    assert "job 1 FAILED: it broke" in capsys.readouterr().out
    client, experiment = build_mlflow(**{"uri": sections["tracker"]["uri"]})._connect()
    runs = {run.info.run_id: run for run in client.search_runs([experiment])}
    (job,) = [run for run in runs.values() if run.data.tags["segframe.kind"] == "run"]
    assert len(runs) == 3 and runs[parents[0]].info.status == "FAILED"
    assert job.data.tags["mlflow.parentRunId"] == parents[2] and job.info.status == "FINISHED"


def test_a_parent_that_was_deleted_in_the_ui_is_replaced(sections, tmp_path):
    plugins = plugin_manager(installed=False)
    first = Sweep(plugins, tmp_path / "sweep", sections)
    first.tracker._connect()[0].delete_run(first.parent)
    first.lock.release()
    second = Sweep(plugins, tmp_path / "sweep", sections)
    assert second.parent and second.parent != first.parent
    assert json.loads((tmp_path / "sweep" / "sweep.json").read_text())["parent"] == second.parent
    second.lock.release()
