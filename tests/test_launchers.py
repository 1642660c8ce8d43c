"""The launchers beside the default one: where jobs run, how they are told to stop, what is missing."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from hydra_plugins.segframe_launcher.local_place import LocalPlace
from hydra_plugins.segframe_launcher.node_process import NodeProcess
from hydra_plugins.segframe_launcher.places import Order, forwarded, stopping, with_device
from hydra_plugins.segframe_launcher.slurm_job import SlurmJob
from segframe import SegframeError
from segframe.__main__ import main
from segframe.gpus import Gpu
from segframe.interrupt import Interrupted

OTHERS = ["joblib", "ray", "submitit_local"]


def orders(folder, *scripts):
    return [
        Order(["-c", textwrap.dedent(script)], folder / f"{number}.log", f"order {number}")
        for number, script in enumerate(scripts)
    ]


def place(n_jobs, gpus=()):
    found = LocalPlace(n_jobs)
    if gpus:
        found.gpus = list(gpus)
        found.jobs_per_gpu = -(-found.at_once // len(gpus))
    return found


def until(true, seconds=60.0):
    for _ in range(int(seconds * 50)):
        if true():
            return
        time.sleep(0.02)
    pytest.fail("it did not come")


MEET = """
    import os, pathlib, sys, time
    mine, other = pathlib.Path(sys.argv[1] + "/{0}"), pathlib.Path(sys.argv[1] + "/{1}")
    mine.touch()
    for _ in range(3000):
        if other.exists():
            sys.exit({2})
        time.sleep(0.02)
    sys.exit(99)
"""


def test_so_many_run_at_once_and_each_ends_with_its_own_code(tmp_path):
    """The first two wait for each other; a third starts when one of them has ended."""
    given = orders(tmp_path, MEET.format("a", "b", 3), MEET.format("b", "a", 0), "print('third')")
    given = [order._replace(command=[*order.command, str(tmp_path)]) for order in given]
    ends = list(place(2).run(given))
    assert sorted((end.position, end.code) for end in ends) == [(0, 3), (1, 0), (2, 0)]
    assert ends[-1].position == 2 and given[2].output.read_text() == "third\n"


def test_with_one_at_a_time_each_has_the_terminal_and_waits_for_its_turn(tmp_path, capfd):
    given = orders(tmp_path, "print('one')", "import os; os.kill(os.getpid(), 9)", "print('three')")
    ends = list(place(1).run(given))
    assert [(end.position, end.code) for end in ends] == [(0, 0), (1, -9), (2, 0)]
    assert capfd.readouterr().out == "one\nthree\n" and not given[0].output.exists()


def test_gpus_go_round_and_their_memory_is_shared_out(tmp_path):
    gpus = [Gpu("GPU-a", "H", 80000), Gpu("GPU-b", "H", 80000)]
    where = place(3, gpus)
    show = "import os, time; print(os.environ['CUDA_VISIBLE_DEVICES']); time.sleep(0.5)"
    given = orders(tmp_path, show, show, show)
    assert [end.code for end in where.run(given)] == [0, 0, 0]
    assert [order.output.read_text().strip() for order in given] == ["GPU-a", "GPU-b", "GPU-a"]
    device = where.adapt({"device": {"threads": None, "gpu_memory_share": None}})["device"]
    assert device == {"threads": max(1, where.cores // 3), "gpu_memory_share": 0.5}
    assert "2 GPUs, 2 jobs at most on each" in where.line()


def test_cores_are_divided_and_what_the_user_gives_stays():
    where = place(2)
    open_to_it, given = {"threads": None, "gpu_memory_share": None}, {"threads": 7, "gpu_memory_share": 0.2}
    assert where.adapt({"device": open_to_it, "seed": 1}) == {
        "device": {"threads": max(1, where.cores // 2), "gpu_memory_share": None},
        "seed": 1,
    }
    assert where.adapt({"device": given})["device"] == given
    assert f"device.threads={where.threads}" in where.line() and "last bits" in where.line()
    alone = {"device": open_to_it}
    assert place(1).adapt(alone) is alone and place(1).line() == ""
    assert place(-1).at_once == where.cores
    for wrong in (0, -2, "two"):
        with pytest.raises(SegframeError, match="hydra.launcher.n_jobs: expected how many jobs"):
            LocalPlace(wrong)
    assert with_device({"device": {"threads": None}}, threads=None) == {"device": {"threads": None}}


SAVES = """
    import signal, sys, time, pathlib
    asked = []
    def save(number, _):
        asked.append(number)
        if len(asked) > {1}:
            sys.exit(128 + number)
    signal.signal(signal.SIGTERM, save)
    pathlib.Path(sys.argv[1] + "/{0}").touch()
    time.sleep(60)
"""


def test_sigterm_is_passed_to_all_that_run_and_no_other_starts(tmp_path):
    given = orders(tmp_path, SAVES.format("a", 0), SAVES.format("b", 0), "print('never')")
    given = [order._replace(command=[*order.command, str(tmp_path)]) for order in given]
    where, ends = place(2), []
    with pytest.raises(Interrupted) as left, stopping(where) as stop:
        import threading

        def tell():
            until(lambda: (tmp_path / "a").exists() and (tmp_path / "b").exists())
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=tell).start()
        ends = list(where.run(given))
        stop.leave()
    assert left.value.signal_number == signal.SIGTERM
    assert [end.code for end in ends] == [143, 143] and not given[2].output.exists()


def test_a_second_signal_is_passed_on_too_and_leaves_at_once(tmp_path):
    given = orders(tmp_path, SAVES.format("a", 1))
    given = [order._replace(command=[*order.command, str(tmp_path)]) for order in given]
    where = place(1)
    with pytest.raises(KeyboardInterrupt, match="left without waiting"), stopping(where):
        import threading

        def tell():
            until(lambda: (tmp_path / "a").exists())
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.3)
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=tell).start()
        list(where.run(given))
    (process,) = where._processes.values()
    assert process.wait(timeout=30) == 143


def test_on_another_machine_a_process_has_its_own_session_folder_and_environment(tmp_path):
    script = "import os; print(os.getsid(0) == os.getpid(), os.getcwd(), os.environ['SEGFRAME_X'])"
    (order,) = orders(Path("here"), script)
    (tmp_path / "here").mkdir()
    assert NodeProcess().run(order, str(tmp_path), {"SEGFRAME_X": "1"}) == (0, "")
    assert (tmp_path / order.output).read_text() == f"True {tmp_path} 1\n"


def test_a_machine_that_does_not_see_the_folder_says_so(tmp_path):
    (order,) = orders(Path("not here"), "")
    code, why = NodeProcess().run(order, str(tmp_path), {})
    assert code == 1 and "has no folder" in why and "runs_dir=PATH on a file system that all" in why


def test_what_goes_along_is_what_is_ours_and_no_more(monkeypatch):
    monkeypatch.setenv("SEGFRAME_CACHE", "/c")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t")
    monkeypatch.setenv("PRIVATE", "p")
    found = forwarded()
    assert found["SEGFRAME_CACHE"] == "/c" and found["MLFLOW_TRACKING_TOKEN"] == "t"
    assert "PRIVATE" not in found and "PATH" not in found


@pytest.mark.parametrize("sweep_stops", [True, False])
def test_a_queued_job_that_is_told_to_stop_leaves_a_result_only_if_the_sweep_stops(tmp_path, sweep_stops):
    """Without one it is waited for: Slurm may queue it again by itself."""
    (order,) = orders(tmp_path, SAVES.format("a", 0))
    order = order._replace(command=[*order.command, str(tmp_path)])
    if sweep_stops:
        (tmp_path / "stop").touch()
    child = os.fork()
    if child == 0:
        code, _ = SlurmJob(order, str(tmp_path), str(tmp_path / "stop"))()
        os._exit(7 if code == 143 else 8)
    until(lambda: (tmp_path / "a").exists())
    os.kill(child, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == (7 if sweep_stops else 143)


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "launcher, package, extra",
    [("ray", "ray", "ray"), ("slurm", "submitit", "slurm"), ("submitit_local", "submitit", "slurm")],
)
def test_without_its_extra_a_launcher_says_what_to_install(
    own_folder, monkeypatch, capsys, launcher, package, extra
):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == package else real(name, *more)
    )
    assert main(["-m", f"hydra/launcher={launcher}", "seed=0,1", "tracker=none"]) == 2
    assert re.search(
        rf"hydra/launcher={launcher}: expected the package '{package}'.*\n.*pip install -e '\.\[{extra}\]'",
        capsys.readouterr().err,
    )
    assert not list(own_folder.rglob("*.yaml"))


def test_hydras_own_launcher_is_refused(own_folder, capsys):
    """It would run all jobs in this process, whose memory grows with each."""
    assert main(["-m", "hydra/launcher=basic", "seed=0,1", "tracker=none"]) == 2
    err = capsys.readouterr().err
    assert "hydra/launcher: expected process, joblib, ray, slurm or submitit_local, got 'basic'" in err
    assert err.count("Error") == 1 and not [path for path in own_folder.rglob("*") if path.is_file()]


SABOTEUR = textwrap.dedent(
    """
    import os, pathlib, signal, time
    from segframe import hookimpl

    class Saboteur:
        def __init__(self, run):
            self.seed, self.interrupt = run.config["seed"], run.interrupt

        def on_step(self, step, logs):
            here = pathlib.Path(f"begun_{self.seed}_{os.getpid()}")
            here.touch()
            if self.seed == 1:
                raise RuntimeError("broken on purpose")
            if self.seed == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            if self.seed in (5, 6):  # until it is told to stop
                for _ in range(6000):
                    if self.interrupt.requested():
                        return
                    time.sleep(0.02)
            if self.seed == 7 and step == 0 and not os.path.exists("warned"):
                pathlib.Path("warned").touch()
                os.kill(os.getppid(), signal.SIGUSR2)  # as Slurm does before the end
                time.sleep(1)

    @hookimpl
    def segframe_callbacks(run):
        return [Saboteur(run)]
    """
)
TINY = ["dataset.samples_train=8", "dataset.samples_val=2", "dataset.samples_test=2", "dataset.size=32",
        "model.filters=2", "model.depth=1", "train.epochs=1", "train.checkpoint_seconds=0",
        "tracker.log_model=false"]  # fmt: skip
AT_ONCE = {
    "joblib": ["hydra.launcher.n_jobs=2"],
    "ray": ["hydra.launcher.init.num_cpus=2"],
    "submitit_local": ["hydra.launcher.array_parallelism=2"],
    "slurm": ["hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=2"],
}


@pytest.fixture(params=OTHERS)
def launcher(request):
    """Each of them, if what it needs is installed."""
    package = {"ray": "ray", "submitit_local": "submitit"}.get(request.param)
    if package:
        pytest.importorskip(package, reason=f"{package} is not installed: make test-launchers")
    return request.param


@pytest.fixture
def sweep(tmp_path, installed):
    """Starts `python -m segframe -m WORDS` in a folder with a space; a plugin fails at some seeds."""
    path = str(installed("saboteur", SABOTEUR))
    folder = tmp_path / "Läufe hier"
    folder.mkdir()
    started = []

    def start(launcher, *words):
        process = subprocess.Popen(
            [sys.executable, "-m", "segframe", "-m", f"hydra/launcher={launcher}",
             *AT_ONCE[launcher], *words, *TINY],
            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        started.append(process)
        return process

    yield SimpleNamespace(start=start, folder=folder)
    for process in started:
        if process.poll() is None:
            process.kill()


def tracked(folder):
    """(status of the parent run, {seed: status} of its jobs' runs)."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/runs/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("segframe").experiment_id])
    (parent,) = [run for run in found if run.data.tags["segframe.kind"] == "sweep"]
    children = [run for run in found if run is not parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} <= {parent.info.run_id}
    return parent.info.status, {run.data.params["seed"]: run.info.status for run in children}


@pytest.mark.slow
@pytest.mark.bundled
def test_jobs_that_fail_or_die_leave_the_others_going(sweep, launcher):
    process = sweep.start(launcher, "seed=1,2,0,3")
    out, err = process.communicate(timeout=900)
    assert process.returncode == 1, err
    assert tracked(sweep.folder) == (
        "FAILED", {"0": "FINISHED", "1": "FAILED", "2": "FAILED", "3": "FINISHED"},
    )  # fmt: skip
    assert "job 0 FAILED: RuntimeError: broken on purpose" in out
    assert "job 1 FAILED: ended by SIGKILL" in out and "Sweep of 4 jobs" in out
    assert "Job 2 finished: val/dice" in err and "of 4 jobs ended" in err
    (folder,) = (sweep.folder / "runs" / "sweeps").iterdir()
    assert "broken on purpose" in (folder / "job_0.log").read_text()
    begun = [file.name.split("_") for file in sweep.folder.glob("begun_*")]
    assert len(begun) == len({pid for *_, pid in begun}) == 4  # a process each
    records = [json.loads(file.read_text()) for file in sweep.folder.glob("runs/unet-*/record.json")]
    assert len(records) == 4 and all(record["threads"] >= 1 for record in records)


@pytest.mark.slow
@pytest.mark.bundled
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_stop_reaches_all_jobs_which_save(sweep, launcher, number):
    process = sweep.start(launcher, "seed=5,6,0")
    until(lambda: len(list(sweep.folder.glob("begun_*"))) == 2, seconds=300)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as the terminal does
    else:
        process.send_signal(number)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 128 + number, err
    assert tracked(sweep.folder) == ("KILLED", {"5": "KILLED", "6": "KILLED"})
    folders = list(sweep.folder.glob("runs/unet-*"))
    assert len(folders) == 2
    for folder in folders:
        assert json.loads((folder / "status.json").read_text())["state"] == "interrupted"
        assert (folder / "checkpoint.h5").exists()
    assert "Traceback" not in err and out.count("stopped:") == 2


@pytest.mark.slow
@pytest.mark.bundled
def test_a_queued_job_near_its_time_limit_saves_and_goes_on_when_it_is_queued_again(sweep):
    pytest.importorskip("submitit", reason="submitit is not installed: make test-launchers")
    process = sweep.start("submitit_local", "seed=7,0")
    out, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    assert len(list(sweep.folder.glob("begun_7_*"))) == 2  # two processes, one run
    assert tracked(sweep.folder) == ("FINISHED", {"0": "FINISHED", "7": "FINISHED"})
    (log,) = sweep.folder.glob("runs/sweeps/*/job_0.log")
    assert "Resuming" in log.read_text()


@pytest.fixture(autouse=True)
def _heard(caplog):
    caplog.set_level(logging.INFO, "segframe")
