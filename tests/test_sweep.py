"""The launcher and the sweep: real commands, each job a process, some of which fail, die or are stopped."""

import json
import os
import re
import subprocess
import sys
import textwrap

import pytest

from hydra_plugins.segframe_launcher.sweep import Job, Sweep
from segframe.__main__ import main
from segframe.compose import register
from segframe.manager import plugin_manager

pytestmark = pytest.mark.bundled

TINY = ["dataset.samples_train=4", "dataset.samples_val=2", "dataset.samples_test=2", "dataset.size=32",
        "model.filters=2", "model.depth=1", "train.epochs=1", "train.checkpoint_seconds=0",
        "tracker.log_model=false"]  # fmt: skip

SABOTEUR = textwrap.dedent(
    """
    import os, signal, time
    from segframe import hookimpl

    class Saboteur:
        def __init__(self, seed):
            self.seed = seed

        def on_step(self, step, logs):
            if self.seed == 1:
                raise RuntimeError("broken [on purpose]")
            if self.seed == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            if self.seed == 4 and step == 0:  # Ctrl-C: the terminal sends it to the sweep and to its job
                os.killpg(0, signal.SIGINT)
            if self.seed == 5 and step == 0:  # `kill` of the sweep alone
                os.kill(os.getppid(), signal.SIGTERM)
                time.sleep(1)

    @hookimpl
    def segframe_callbacks(run):
        return [Saboteur(run.config["seed"])]
    """
)


@pytest.fixture
def command(tmp_path):
    """Runs `python -m segframe WORDS` in an empty folder, with a plugin that fails at some seeds."""
    (tmp_path / "path" / "saboteur-1.dist-info").mkdir(parents=True)
    (tmp_path / "path" / "saboteur.py").write_text(SABOTEUR)
    info = tmp_path / "path" / "saboteur-1.dist-info"
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: saboteur\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[segframe]\nsaboteur = saboteur\n")
    folder = tmp_path / "work"
    folder.mkdir()

    def run(*words):
        done = subprocess.run(
            [sys.executable, "-m", "segframe", *words], cwd=folder, capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": str(tmp_path / "path")}, start_new_session=True,
        )  # fmt: skip
        return done, folder / "runs"

    return run


def tracked(runs):
    """(the sweep's parent run, its jobs' runs by seed, the client)."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{runs}/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("segframe").experiment_id])
    (parent,) = [run for run in found if run.data.tags["segframe.kind"] == "sweep"]
    children = {run.data.params["seed"]: run for run in found if run is not parent}
    for child in children.values():
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    return parent, children, client


def test_jobs_that_fail_or_die_are_recorded_and_the_next_goes_on(command):
    done, runs = command("-m", "seed=1,2,0", *TINY)
    assert done.returncode == 1, done.stderr
    (sweep,) = (runs / "sweeps").iterdir()
    failed, _, finished = (json.loads((sweep / f"job_{n}.json").read_text()) for n in range(3))
    assert failed["error"] == "RuntimeError: broken [on purpose]"

    parent, children, _ = tracked(runs)
    states = {seed: run.info.status for seed, run in children.items()}
    assert states == {"0": "FINISHED", "1": "FAILED", "2": "FAILED"}
    assert "broken [on purpose]" in children["1"].data.tags["error"]
    assert "SIGKILL" in children["2"].data.tags["error"]
    assert parent.info.status == "FAILED"
    for run, key in ((parent, "best/val/dice"), (children["0"], "final/val/dice")):
        assert run.data.metrics[key] == pytest.approx(finished["objective"])

    rows = [(job, seed, state) for job, seed, _, state in table(done.stdout)]
    assert rows[0] == ("2", "0", "finished")
    assert set(rows[1:]) == {("0", "1", "FAILED"), ("1", "2", "FAILED")}
    assert "job 0 FAILED: RuntimeError: broken [on purpose]" in done.stdout
    assert "job 1 FAILED: ended by SIGKILL" in done.stdout
    assert f"sweep: runs/sweeps/{sweep.name}\ncompare: python -m segframe ui\n" in done.stdout
    told = {json.loads((folder / "status.json").read_text())["state"] for folder in runs.glob("unet-*")}
    assert told == {"failed", "finished"}


def table(text):
    """(job, seed, val/dice, state) of each row."""
    return re.findall(r"│ *(\d+) *│ *(\d*) *│ *([\d.]*) *│ .*│ *(\w+) *│", text)


def test_the_table_is_best_first_and_what_has_no_score_comes_last(tmp_path, capsys):
    sweep = Sweep(plugin_manager(installed=False), tmp_path, {"tracker": {"name": "none"}})
    for number, objective in enumerate([0.25, None, 0.75, 0.0, 0.5]):
        error = "" if objective is not None else "ValueError: [red]mine[/red]"
        scores = {"test/dice": objective}
        sweep.jobs.append(Job(number, ["optimizer=adam", f"seed={number}"], objective, scores, error, ""))
    assert sweep.end() == 1
    out = capsys.readouterr().out
    assert [(job, dice) for job, _, dice, _ in table(out)] == [
        ("2", "0.7500"), ("4", "0.5000"), ("0", "0.2500"), ("3", "0.0000"), ("1", ""),
    ]  # fmt: skip
    assert "optimizer" not in out  # it is the same in all jobs
    assert "job 1 FAILED: ValueError: [red]mine[/red]" in out


@pytest.mark.parametrize(
    "seed, code", [("4", 130), pytest.param("5", 143, marks=pytest.mark.slow)], ids=["ctrl-c", "sigterm"]
)
def test_stopping_saves_the_job_and_ends_the_sweep(command, seed, code):
    done, runs = command("-m", f"seed={seed},0", *TINY)
    assert done.returncode == code, done.stderr
    parent, children, _ = tracked(runs)
    assert {seed: run.info.status for seed, run in children.items()} == {seed: "KILLED"}
    assert parent.info.status == "KILLED"
    (folder,) = runs.glob("unet-*")
    assert json.loads((folder / "status.json").read_text())["state"] == "interrupted"
    assert (folder / "checkpoint.h5").exists() and not (folder / "result.json").exists()
    assert "Job 1" not in done.stderr and "Traceback" not in done.stderr
    assert "Stopped" in done.stderr


def test_all_jobs_are_checked_before_the_first_one_starts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["-m", "train.epochs=1,2,0", "tracker=none", "dataset.size=32"]) == 2
    assert "train.epochs: expected" in capsys.readouterr().err
    assert not list(tmp_path.rglob("job_*")) and not list(tmp_path.rglob("status.json"))


def test_a_value_out_of_range_in_the_last_job_stops_the_sweep_before_the_first(command):
    done, runs = command("-m", "model.depth=1,0", *(word for word in TINY if "depth" not in word))
    assert done.returncode == 2
    assert "No job was started: job 1 (" in done.stderr and "model.depth: expected" in done.stderr
    assert not list(runs.rglob("*.yaml")) and not list(runs.rglob("status.json"))


@pytest.mark.parametrize(
    "words, jobs",
    [
        (
            ["-m", "seed=range(3)", "split.folds=2", "split.fold=range(2)"],
            [f"seed={seed} split.folds=2 split.fold={fold}" for seed in range(3) for fold in range(2)],
        ),
        (
            ["sweep=data_fraction", "seed=range(2)"],
            [f"split.train_fraction={share} seed={seed}"
             for share in ("0.1", "0.25", "0.5", "1.0") for seed in range(2)],
        ),
    ],
    ids=["command line", "preset"],
)  # fmt: skip
def test_ranges_are_every_value_of_seeds_and_folds(words, jobs, tmp_path, monkeypatch):
    register()  # Hydra's first look for plugins executes their modules anew: it has to be over
    from hydra_plugins.segframe_launcher.launcher import ProcessLauncher

    launched = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        ProcessLauncher, "launch", lambda self, overrides, initial_job_idx: launched.extend(overrides) or []
    )
    assert main([*words, "tracker=none"]) == 0
    common = ("tracker=none", "sweep=data_fraction")
    assert [" ".join(word for word in job if word not in common) for job in launched] == jobs
