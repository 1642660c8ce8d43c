"""A whole experiment on a real MLflow server over HTTP, with SQLite and with PostgreSQL behind it."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from servers import SECRET, answering, free_port, mlflow_server, postgresql

from segframe import hookimpl, load_model
from segframe.experiment import run_experiment
from segframe.interrupt import Interrupted
from segframe.plugins.mlflow_tracker import build_mlflow
from segframe.plugins.predict_run import weights_of
from segframe.record import Record

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def server(request, tmp_path_factory):
    """(address with a password in it, folder of the server)"""
    folder = tmp_path_factory.mktemp(f"server of {request.param}")
    if request.param == "sqlite":
        with mlflow_server(f"sqlite:///{folder}/mlflow.db", folder) as address:
            yield address.replace("//", f"//anna:{SECRET}@"), folder
    else:
        with postgresql() as store, mlflow_server(store, folder) as address:
            yield address.replace("//", f"//anna:{SECRET}@"), folder


class StopsOnce:
    """SIGTERM in the second epoch."""

    @hookimpl
    def segframe_callbacks(self, run):
        return [self]

    def on_step(self, step, logs):
        if step == 4:
            os.kill(os.getpid(), signal.SIGTERM)


def predicted_in_a_fresh_process(tracking_uri, model_uri, images, folder):
    """(logits of mlflow.pyfunc, whether segframe was imported for it)."""
    np.save(folder / "images.npy", images)
    code = (
        "import sys, numpy, mlflow; mlflow.set_tracking_uri(sys.argv[1])\n"
        "model = mlflow.pyfunc.load_model(sys.argv[2])\n"
        "numpy.save('logits.npy', model.predict(numpy.load('images.npy')))\n"
        "sys.exit('segframe' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, tracking_uri, model_uri], cwd=folder)
    assert done.returncode == 0
    return np.load(folder / "logits.npy")


def test_a_sweep_over_http_resumes_and_all_of_it_comes_back(
    plugins, config, server, tmp_path, monkeypatch, own_cache
):
    uri, behind = server
    logging.getLogger("segframe").setLevel(logging.INFO)
    section = {
        "name": "mlflow", "uri": uri, "experiment": "over HTTP", "log_model": True, "register_as": "squares",
        "artifacts": None,
    }  # fmt: skip
    tracker = build_mlflow(**{key: value for key, value in section.items() if key != "name"})
    sweep = tracker.open_sweep("two seeds", {})
    folders = []
    for seed in (0, 1):
        given = config(f"seed={seed}") | {"tracker": section}
        if seed == 1:
            stops = StopsOnce()
            plugins.register(stops)
            with pytest.raises(Interrupted):
                run_experiment(plugins, given, sweep)
            plugins.unregister(stops)
            (stopped,) = [file for file in tmp_path.glob("runs/*/tracker.json") if file.parent not in folders]
            before = json.loads(stopped.read_text())["run_id"]
        folders.append(Path(run_experiment(plugins, given, sweep).out_dir))
    tracker.close_sweep(sweep, "FINISHED", {"best/val/dice": 0.5})
    client, experiment = tracker._connect()
    assert client.get_run(sweep).info.status == "FINISHED"
    children = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{sweep}'")
    ids = [json.loads((folder / "tracker.json").read_text())["run_id"] for folder in folders]
    assert ids[1] == before and {run.info.run_id for run in children} == set(ids)
    for run in children:
        folder = folders[ids.index(run.info.run_id)]
        assert run.info.status == "FINISHED" and "error" not in run.data.tags
        result = Record(folder).read("result.json")
        assert run.data.metrics["final/test/dice"] == pytest.approx(result["scores"]["test/dice"])
        told = client.get_metric_history(run.info.run_id, "train/loss")
        assert [point.step for point in told] == [1, 2, 3]
        for name in ("figures/curves.png", "figures/test_overlays.png", "costs.json", "model.weights.h5"):
            file = client.download_artifacts(run.info.run_id, name, str(tmp_path))
            assert Path(file).read_bytes() == (folder / name).read_bytes()
        assert run.outputs.model_outputs
    versions = client.search_model_versions("name='squares'")
    assert {version.run_id for version in versions} == set(ids) and len(versions) == 2

    # From here on as on another machine: the run's folder is gone.
    images = np.random.default_rng(0).integers(0, 256, (2, 17, 23, 1), np.uint8)
    own = load_model(folders[0], plugins).predict(images)
    folders[0].rename(tmp_path / "away")
    fetched = load_model(weights_of(ids[0], tmp_path / "no runs", uri), plugins).predict(images)
    np.testing.assert_array_equal(fetched, own)
    (version,) = [one for one in versions if one.run_id == ids[0]]
    logits = predicted_in_a_fresh_process(
        uri, f"models:/squares/{version.version}", images.astype(np.float32), tmp_path
    )
    np.testing.assert_array_equal(logits.argmax(-1), own)

    places = [tmp_path / "runs", tmp_path / "away", behind]
    files = [file for place in places for file in place.rglob("*") if file.is_file()]
    assert len(files) > 50
    assert not [file for file in files if SECRET.encode() in file.read_bytes()]


def test_a_database_can_be_the_store_itself(tmp_path):
    with postgresql() as uri:
        tracker = build_mlflow(uri=uri, artifacts=str(tmp_path / "my files"))
        (tmp_path / "note.txt").write_text("x")
        for _ in range(2):
            with tracker.run(tmp_path / "run", "name") as run:
                run.params({"seed": 0})
                run.epochs({1: {"train/loss": 1.0}, 2: {"train/loss": 0.5}})
                run.file(tmp_path / "note.txt")
        client, _ = tracker._connect()
        assert [p.value for p in client.get_metric_history(run.run_id, "train/loss")] == [1.0, 0.5]
        assert [file.read_text() for file in (tmp_path / "my files").rglob("note.txt")] == ["x"]
        kept = (tmp_path / "run" / "tracker.json").read_text()
        assert SECRET not in kept and "postgresql://127.0.0.1" in kept


def test_a_registered_model_is_served_and_gives_the_runs_own_masks(plugins, config, tmp_path, empty_database):
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    section = {"name": "mlflow", "uri": uri, "register_as": "squares"}
    folder = Path(run_experiment(plugins, config("train.epochs=1") | {"tracker": section}).out_dir)
    images = np.random.default_rng(0).integers(0, 256, (2, 17, 23, 1), np.uint8)
    own = load_model(folder, plugins).predict(images)
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/squares/1", "-h"]
    command += ["127.0.0.1", "-p", str(port), "--env-manager", "local"]
    # The server's own process is `uvicorn` by name.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "MLFLOW_TRACKING_URI": uri, "PATH": path}
    with answering(command, port, "ping", env=env):
        question = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            json.dumps({"inputs": images.tolist()}).encode(),
            {"Content-Type": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(question, timeout=120) as answer:
            logits = np.array(json.load(answer)["predictions"])
    assert logits.shape == (2, 17, 23, 2)
    np.testing.assert_array_equal(logits.argmax(-1), own)
