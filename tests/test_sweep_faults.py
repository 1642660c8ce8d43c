"""Sweeps and searches that are hit in the middle and started again: real commands, real kills."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time

import pytest

pytestmark = [pytest.mark.bundled, pytest.mark.slow]  # each job imports TensorFlow

TINY = ["dataset.samples_train=4", "dataset.samples_val=2", "dataset.samples_test=2", "dataset.size=32",
        "model.filters=2", "model.depth=1", "train.epochs=3", "train.checkpoint_seconds=0",
        "tracker.log_model=false"]  # fmt: skip

FAULTS = textwrap.dedent(
    """
    import os, signal, time
    from pathlib import Path
    from segframe import hookimpl

    def out_of_memory():
        import resource, tensorflow
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 28), resource.RLIM_INFINITY))
        tensorflow.zeros([1 << 30])

    def fail():
        raise RuntimeError("broken on purpose")

    ACTIONS = {
        "fail": fail,
        "die": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "out of memory": out_of_memory,
        "kill the sweep": lambda: os.kill(os.getppid(), signal.SIGKILL),
        "kill both": lambda: (os.kill(os.getppid(), signal.SIGKILL), os.kill(os.getpid(), signal.SIGKILL)),
        "ctrl-c twice": lambda: (os.killpg(0, signal.SIGINT), time.sleep(0.5), os.killpg(0, signal.SIGINT)),
    }

    class Faults:
        '''After the second step of the run with this seed, once: the file FAULTS/SEED says what.'''

        def __init__(self, seed):
            self.file = Path(os.environ["FAULTS"], str(seed))

        def on_step(self, step, logs):
            if step == 1 and self.file.exists():
                action = self.file.read_text()
                self.file.unlink()
                ACTIONS[action]()
                time.sleep(float(os.environ["SECONDS"]))

    @hookimpl
    def segframe_callbacks(run):
        return [Faults(run.config["seed"])]
    """
)


@pytest.fixture
def command(tmp_path):
    """Runs `python -m segframe -m WORDS TINY` in a folder of its own with {seed: what happens once}."""
    info = tmp_path / "path" / "faults-1.dist-info"
    info.mkdir(parents=True)
    (tmp_path / "path" / "faults.py").write_text(FAULTS)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faults\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[segframe]\nfaults = faults\n")
    folder, hits = tmp_path / "Läufe 1", tmp_path / "faults"
    folder.mkdir()
    hits.mkdir()

    def run(*words, faults=None, seconds=0):
        for seed, action in (faults or {}).items():
            (hits / str(seed)).write_text(action)
        environment = {"PYTHONPATH": str(tmp_path / "path"), "FAULTS": str(hits), "SECONDS": str(seconds)}
        # Into files: a pipe would stay open for as long as a job that its sweep has left behind.
        said = [tmp_path / name for name in ("stdout", "stderr")]
        with open(said[0], "w") as stdout, open(said[1], "w") as stderr:
            done = subprocess.run(
                [sys.executable, "-m", "segframe", "-m", *words, *TINY], cwd=folder, stdout=stdout,
                stderr=stderr, env=os.environ | environment, start_new_session=True, timeout=600,
            )  # fmt: skip
        done.stdout, done.stderr = (file.read_text() for file in said)
        return done

    run.runs = folder / "runs"
    return run


def tracked(runs):
    """(parents, children) in MLflow, each epoch of each child told once."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{runs}/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("segframe").experiment_id])
    parents = [run for run in found if run.data.tags["segframe.kind"] == "sweep"]
    children = [run for run in found if run not in parents]
    for child in children:
        steps = [point.step for point in client.get_metric_history(child.info.run_id, "val/dice")]
        assert steps == sorted(set(steps)), steps
        assert child.data.tags["mlflow.parentRunId"] in {parent.info.run_id for parent in parents}
    return parents, children


def states(runs):
    return sorted(json.loads(file.read_text())["state"] for file in runs.glob("*/status.json"))


def rows(text):
    """{job: state} of the table."""
    return dict(re.findall(r"│ *(\d+) .*│ *([\w ]*?) *│\n", text))


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.5)


def test_jobs_that_fail_die_or_run_out_of_memory_and_the_sweep_started_again(command):
    sweep = ("seed=0,1,2,3",)
    first = command(*sweep, faults={1: "fail", 2: "die", 3: "out of memory"})
    assert first.returncode == 1, first.stderr
    assert rows(first.stdout) == {"0": "finished", "1": "FAILED", "2": "FAILED", "3": "FAILED"}
    assert "job 2 FAILED: ended by SIGKILL: perhaps out of memory (a smaller train.batch_size" in first.stdout
    assert "job 3 FAILED: out of memory (ResourceExhaustedError: " in first.stdout
    assert ": a smaller train.batch_size" in first.stdout

    again = command(*sweep, "sweep.resume=true")
    assert again.returncode == 1, again.stderr
    assert rows(again.stdout) == {"0": "finished", "1": "FAILED", "2": "finished", "3": "FAILED"}
    assert again.stderr.count("train.xla=auto") == 1  # one process was started, and it
    assert "Continuing after epoch" in again.stderr
    assert "job 1 FAILED: RuntimeError: broken on purpose (before; sweep.retry_failed=true" in again.stdout

    last = command(*sweep, "sweep.resume=true", "sweep.retry_failed=true")
    assert last.returncode == 0, last.stderr
    assert set(rows(last.stdout).values()) == {"finished"} and states(command.runs) == ["finished"] * 4
    parents, children = tracked(command.runs)
    assert [parent.info.status for parent in parents] == ["FINISHED"] and len(children) == 4
    assert {child.info.status for child in children} == {"FINISHED"}
    assert len(list((command.runs / "sweeps").iterdir())) == 1


@pytest.mark.parametrize("fault", ["kill the sweep", "kill both"])
def test_a_sweep_that_is_killed_leaves_no_job_behind_and_goes_on(command, fault):
    killed = command("seed=0,1", faults={0: fault}, seconds=3)
    assert killed.returncode == -signal.SIGKILL
    if fault == "kill the sweep":  # its job notices, saves and leaves
        wait_for(lambda: states(command.runs) == ["interrupted"])
    again = command("seed=0,1", "sweep.resume=true")
    assert again.returncode == 0, again.stderr
    assert "Continuing after epoch" in again.stderr
    parents, children = tracked(command.runs)
    assert [parent.info.status for parent in parents] == ["FINISHED"] and len(children) == 2
    assert states(command.runs) == ["finished"] * 2


def test_a_sweep_started_again_at_once_waits_for_the_job_that_is_still_saving(command):
    killed = command("seed=0", faults={0: "kill the sweep"}, seconds=45)
    assert killed.returncode == -signal.SIGKILL
    again = command("seed=0", "sweep.resume=true")
    assert again.returncode == 0, again.stderr
    assert "Waiting for process" in again.stderr
    parents, children = tracked(command.runs)
    assert len(parents) == len(children) == 1 and states(command.runs) == ["finished"]


def test_ctrl_c_twice_leaves_now(command):
    left = command("seed=0,1", faults={0: "ctrl-c twice"})
    assert left.returncode == 130, left.stderr
    assert "Job 1" not in left.stderr and "Traceback" not in left.stderr.replace("KeyboardInterrupt", "")
    assert not list(command.runs.glob("*/result.json"))
    again = command("seed=0,1", "sweep.resume=true")
    assert again.returncode == 0, again.stderr
    assert states(command.runs) == ["finished"] * 2


SEARCH = ["hydra/sweeper=optuna", "optimizer.learning_rate=tag(log, interval(1e-4,1e-2))", "seed=range(0,40)",
          "hydra.sweeper.n_trials=4", "hydra.sweeper.startup_trials=2",
          "hydra.sweeper.pruner_startup_trials=1", "hydra.sweeper.min_epochs=1"]  # fmt: skip


def trials(runs, name):
    kept = json.loads((runs / "sweeps" / name / "study.json").read_text())
    return kept, [(t["state"], t["overrides"], t["epochs"], t["val/dice"]) for t in kept["trials"]]


def test_a_search_that_is_killed_goes_on_to_the_same_end(command):
    pytest.importorskip("optuna", reason="pip install -e '.[optuna]'")
    whole = command(*SEARCH, "hydra.sweeper.study=whole", "runs_dir=other")
    assert whole.returncode == 0, whole.stderr
    _, expected = trials(command.runs.parent / "other", "whole")
    (seed,) = next(
        [word.partition("=")[2] for word in words if word.startswith("seed=")]
        for state, words, *_ in expected[1:]
        if state == "COMPLETE"
    )
    name = "hydra.sweeper.study='Suche ß'"
    killed = command(*SEARCH, name, faults={seed: "kill both"})
    assert killed.returncode == -signal.SIGKILL
    again = command(*SEARCH, name, "sweep.retry_failed=true")
    assert again.returncode == 0, again.stderr
    assert re.search(r"Going on with trials \d, which were cut off", again.stderr)
    kept, found = trials(command.runs, "Suche ß")
    assert found == expected
    assert len(found) == 4 and {state for state, *_ in found} <= {"COMPLETE", "PRUNED"}
    pruned = [trial for trial in kept["trials"] if trial["state"] == "PRUNED"]
    for trial in pruned:
        assert f"PRUNED at epoch {trial['epochs'][-1][0]}" in again.stdout
        status = json.loads((command.runs.parent / trial["run"] / "status.json").read_text())
        assert status["state"] == "pruned"
    parents, children = tracked(command.runs)
    (parent,) = parents
    assert parent.info.status == "FINISHED" and parent.data.metrics["best/trial"] == kept["best"]["number"]
    assert parent.data.metrics["best/val/dice"] == pytest.approx(kept["best"]["val/dice"])
    assert f"seed={parent.data.tags['best.seed']}" in kept["best"]["overrides"]
    assert {child.info.status for child in children} <= {"FINISHED", "KILLED"}
    assert f"  {kept['best']['command']}\n" in again.stdout

    more = command(*SEARCH, name, "hydra.sweeper.n_jobs=2")  # enough are there
    assert more.returncode == 0 and "train.xla" not in more.stderr, more.stderr
    assert rows(more.stdout) == rows(again.stdout) and len(rows(more.stdout)) == 4


def test_trials_that_fail_are_told_and_the_search_goes_on_and_tries_them_again_on_request(command):
    pytest.importorskip("optuna", reason="pip install -e '.[optuna]'")
    words = ["hydra/sweeper=optuna", "hydra.sweeper.sampler=grid", "seed=0,1,2", "hydra.sweeper.study=grid"]
    first = command(*words, faults={1: "die"})
    assert first.returncode == 1, first.stderr
    assert [state for state, *_ in trials(command.runs, "grid")[1]] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert "1 FAILED: ended by SIGKILL" in first.stdout
    again = command(*words, "sweep.retry_failed=true")
    kept, found = trials(command.runs, "grid")
    assert [(state, overrides) for state, overrides, *_ in found][-1] == ("COMPLETE", ["seed=1"])
    assert len(found) == 4 and len(tracked(command.runs)[1]) == 3
    assert again.returncode == 0, again.stderr
