"""segframe.job: one job of a sweep leaves its result or its error in a file, whatever happens."""

import json
import signal
import textwrap
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from segframe.job import main
from segframe.record import Record

pytestmark = pytest.mark.bundled

SABOTEUR = textwrap.dedent(
    """
    import os, signal
    from segframe import hookimpl

    class Saboteur:
        def __init__(self, seed):
            self.seed = seed

        def on_step(self, step, logs):
            if self.seed == 1:
                raise RuntimeError("broken on purpose")
            if self.seed == 15 and step == 0:
                os.kill(os.getpid(), signal.SIGTERM)

    @hookimpl
    def segframe_callbacks(run):
        return [Saboteur(run.config["seed"])]
    """
)


@pytest.fixture
def job(config, tmp_path, monkeypatch):
    """Runs a job in this process; returns its exit code and what it left."""
    (tmp_path / "path" / "job_saboteur-1.dist-info").mkdir(parents=True)
    (tmp_path / "path" / "job_saboteur.py").write_text(SABOTEUR)
    info = tmp_path / "path" / "job_saboteur-1.dist-info"
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: job-saboteur\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[segframe]\njob_saboteur = job_saboteur\n")
    monkeypatch.syspath_prepend(str(tmp_path / "path"))

    def run(*words):
        made = config("train.epochs=1", *words)
        made["model"] = {"name": "unet", "filters": 2, "depth": 1}
        (tmp_path / "job_0.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(made)))
        code = main(str(tmp_path / "job_0.yaml"), str(tmp_path / "job_0.json"), "")
        return code, json.loads((tmp_path / "job_0.json").read_text())

    return run


def test_a_finished_job_leaves_its_objective_and_scores(job):
    code, left = job()
    result = Record(Path(left["out_dir"])).read("result.json")
    assert code == 0 and "error" not in left
    assert left["objective"] == result["objective"] == result["scores"]["val/dice"]
    assert left["scores"] == result["scores"]


def test_a_wrong_value_is_left_as_its_message_with_exit_code_2(job, capsys):
    code, left = job("optimizer.learning_rate=-1")
    assert code == 2 and set(left) <= {"error", "out_dir"}
    assert "optimizer.learning_rate: expected a number above 0, got -1" in left["error"]
    assert "Traceback" not in capsys.readouterr().err


def test_a_failure_is_left_with_its_folder_and_its_traceback_is_shown(job, capsys):
    code, left = job("seed=1")
    assert (code, left["error"]) == (1, "RuntimeError: broken on purpose")
    assert Record(Path(left["out_dir"])).status() == "failed"
    assert "Traceback" in capsys.readouterr().err


def test_a_stopped_job_says_so_and_exits_with_the_signal(job):
    code, left = job("seed=15")
    assert code == 128 + signal.SIGTERM
    assert left["error"].startswith("stopped: stopped by SIGTERM")
    assert Record(Path(left["out_dir"])).status() == "interrupted"
