"""segframe.plugins.mlflow_tracker with a real MLflow on SQLite."""

import json
import math
import shutil
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from segframe.errors import SegframeError
from segframe.normalisation import Normalisation
from segframe.plugins.mlflow_tracker import build_mlflow
from segframe.plugins.predict_run import weights_of

EPOCHS = {1: {"train/loss": 1.0, "val/dice": 0.5}, 2: {"train/loss": 0.5, "val/dice": math.nan}}


@pytest.fixture
def runs_dir(tmp_path, empty_database):
    """A folder whose name needs care in a URI."""
    folder = tmp_path / "Läufe mit 100% Platz"
    folder.mkdir()
    shutil.copy(empty_database, folder / "mlflow.db")
    return folder


@pytest.fixture
def tracker(runs_dir):
    return build_mlflow(uri=f"sqlite:///{runs_dir}/mlflow.db")


def kept(tracker, run):
    return tracker._connect()[0].get_run(run.run_id)


def history(tracker, run, key):
    return [(point.step, point.value) for point in tracker._connect()[0].get_metric_history(run.run_id, key)]


def test_a_run_is_kept_with_all_it_was_told(tracker, runs_dir):
    (runs_dir / "a ß.txt").write_text("x")
    with tracker.run(runs_dir / "run", "first", parent=tracker.open_sweep("sweep", {})) as run:
        run.params({"optimizer.learning_rate": 3e-4, "odd{name}": None, "long": "x" * 7000})
        run.tags({"segframe.data": "abc"})
        run.epochs(EPOCHS)
        run.final({"final/val/dice": 0.5, "final/test/dice": math.nan})
        run.file(runs_dir / "a ß.txt", "figures")
        assert kept(tracker, run).info.status == "RUNNING"
    found = kept(tracker, run)
    assert (found.info.status, found.info.run_name) == ("FINISHED", "first")
    assert found.data.params["optimizer.learning_rate"] == "0.0003"
    assert found.data.params["odd_name_"] == "None"
    assert found.data.params["long"].endswith("(cut, 7000 characters)")
    assert found.data.tags["segframe.kind"] == "run" and found.data.tags["mlflow.parentRunId"]
    assert history(tracker, run, "train/loss") == [(1, 1.0), (2, 0.5)]
    assert math.isnan(found.data.metrics["val/dice"]) and math.isnan(found.data.metrics["final/test/dice"])
    assert found.data.metrics["final/val/dice"] == 0.5
    assert [file.read_text() for file in (runs_dir / "artifacts").rglob("a ß.txt")] == ["x"]


def test_a_run_told_everything_again_by_a_new_process_keeps_it_once(tracker, runs_dir):
    ids = []
    for told in (1, 2):
        again = build_mlflow(uri=tracker.uri)
        with again.run(runs_dir / "run", "name") as run:
            run.params({"seed": 0, "device.threads": told})
            run.epochs(dict(list(EPOCHS.items())[:told]))
            run.final({"final/test/dice": 0.5, "final/test/iou": math.nan})
        ids.append(run.run_id)
    assert ids[0] == ids[1]
    assert history(tracker, run, "epoch") == [(1, 1.0), (2, 2.0)]
    assert len(history(tracker, run, "val/dice")) == 2
    assert len(history(tracker, run, "final/test/dice")) == len(history(tracker, run, "final/test/iou")) == 1
    assert kept(tracker, run).data.params == {"seed": "0", "device.threads": "1"}
    assert kept(tracker, run).data.tags["resumed.device.threads"] == "2"


def test_more_params_than_mlflow_takes_at_once_are_all_kept(tracker, runs_dir):
    with tracker.run(runs_dir / "run", "name") as run:
        run.params({f"key.{i}": i for i in range(250)})
    assert len(kept(tracker, run).data.params) == 250


@pytest.mark.parametrize(
    "error, status", [(KeyboardInterrupt(), "KILLED"), (ValueError("e" * 900), "FAILED")]
)
def test_a_run_that_raises_never_looks_finished(tracker, runs_dir, error, status):
    with pytest.raises(type(error)), tracker.run(runs_dir / "run", "name") as run:
        raise error
    assert kept(tracker, run).info.status == status
    assert kept(tracker, run).data.tags["error"] == (str(error) or "KeyboardInterrupt")[:500]
    with tracker.run(runs_dir / "run", "name"):
        pass
    assert kept(tracker, run).info.status == "FINISHED" and "error" not in kept(tracker, run).data.tags


def test_the_run_of_a_dead_process_can_be_closed(tracker, runs_dir):
    context = tracker.run(runs_dir / "run", "name")
    run = context.__enter__()
    build_mlflow(uri=tracker.uri).close_run(runs_dir / "run", "FAILED", "exit code -9")
    assert kept(tracker, run).info.status == "FAILED"
    assert kept(tracker, run).data.tags["error"] == "exit code -9"
    tracker.close_run(runs_dir / "never started", "FAILED", "")


def test_a_run_deleted_in_the_ui_or_of_another_store_gets_a_new_id(tracker, runs_dir):
    with tracker.run(runs_dir / "run", "name") as first:
        pass
    tracker._connect()[0].delete_run(first.run_id)
    with tracker.run(runs_dir / "run", "name") as second:
        pass
    remembered = json.loads((runs_dir / "run" / "tracker.json").read_text())
    assert remembered == {"tracker": "mlflow", "uri": tracker.uri, "run_id": second.run_id}
    assert second.run_id != first.run_id


def test_a_sweep_ends_with_its_scores(tracker):
    sweep = tracker.open_sweep("learning rates", {"segframe.command": "-m"})
    tracker.close_sweep(sweep, "FAILED", {"val/dice": 0.9})
    found = tracker._connect()[0].get_run(sweep)
    assert (found.info.status, found.data.metrics) == ("FAILED", {"val/dice": 0.9})
    assert found.data.tags["segframe.kind"] == "sweep" and found.data.tags["segframe.command"] == "-m"


def test_four_processes_at_once_on_a_fresh_store_all_succeed(tmp_path):
    code = (
        "import sys; from pathlib import Path; from segframe.plugins.mlflow_tracker import build_mlflow\n"
        "with build_mlflow(uri='sqlite:///new/mlflow.db').run(Path(sys.argv[1]), 'name') as run:\n"
        "    run.epochs({1: {'train/loss': 1.0}})"
    )
    started = [subprocess.Popen([sys.executable, "-c", code, f"run{i}"], cwd=tmp_path) for i in range(4)]
    assert [process.wait(120) for process in started] == [0, 0, 0, 0]
    client, experiment = build_mlflow(uri=f"sqlite:///{tmp_path}/new/mlflow.db")._connect()
    assert [run.info.status for run in client.search_runs([experiment])] == ["FINISHED"] * 4


def test_the_command_that_shows_the_runs_is_fit_for_a_shell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert build_mlflow(uri="sqlite:///runs/mlflow.db").where() == "python -m segframe ui"
    named = build_mlflow(uri="sqlite:///my runs/mlflow.db").where()
    assert named == "python -m segframe ui --runs-dir 'my runs'"
    assert build_mlflow(uri="http://me:secret@host:5000").where() == "http://host:5000"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("uri", ["runs", "./mlruns", "sqlite:///", "sqlite://runs/mlflow.db"])
def test_what_is_no_store_is_refused_before_anything_is_imported(uri):
    with pytest.raises(SegframeError, match=r"tracker\.uri: expected .* got '.*'"):
        build_mlflow(uri=uri)


def test_a_store_that_cannot_be_reached_raises_soon(tmp_path):
    (tmp_path / "mlflow.db").mkdir()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        started = time.monotonic()
        for uri in (f"sqlite:///{tmp_path}/mlflow.db", f"http://127.0.0.1:{taken.getsockname()[1]}"):
            with pytest.raises(Exception, match="unable to open|Max retries|refused"):
                build_mlflow(uri=uri).open_sweep("name", {})
    assert time.monotonic() - started < 30


def test_importing_and_building_the_tracker_imports_nothing_heavy():
    code = (
        "import sys; from segframe.plugins.mlflow_tracker import build_mlflow\n"
        "build_mlflow(uri='sqlite:///runs/mlflow.db').where()\n"
        "sys.exit(bool({'mlflow', 'tensorflow', 'keras', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_model_predicts_in_a_process_without_segframe(tmp_path, empty_database):
    import keras

    from segframe.export import save_model

    folder = tmp_path / "Läufe"
    folder.mkdir()
    shutil.copy(empty_database, folder / "mlflow.db")
    image = keras.Input((None, None, 2))
    model = keras.Model(image, keras.layers.Conv2D(3, 1, bias_initializer="ones")(image))
    plain = Normalisation(1.0, (0.0, 0.0), (1.0, 1.0))
    example = np.full((70, 60, 2), 7, np.uint8)
    save_model(folder / "saved", model, plain, num_classes=3, channels=2, example=example)
    (folder / "weights.h5").write_bytes(b"weights")
    tracker = build_mlflow(uri=f"sqlite:///{folder}/mlflow.db", register_as="cells of Läufe")
    with tracker.run(folder / "run", "name") as run:
        run.model(folder / "saved", folder / "weights.h5")
        run.model(folder / "saved", folder / "weights.h5")
    (output,) = kept(tracker, run).outputs.model_outputs
    client = tracker._connect()[0]
    (registered,) = client.search_model_versions("name='cells of Läufe'")
    assert (int(registered.version), registered.run_id) == (1, run.run_id)
    assert [file.path for file in client.list_artifacts(run.run_id)] == ["weights.h5"]
    logged, files = mlflow_model_of(client, output.model_id, tmp_path)
    takes, gives = logged.signature.inputs.inputs[0], logged.signature.outputs.inputs[0]
    assert takes.shape == (-1, -1, -1, 2) and gives.shape == (-1, -1, -1, 3)
    assert takes.type == gives.type == np.float32
    assert logged.load_input_example(files).tolist() == np.full((1, 64, 60, 2), 7).tolist()
    images = np.random.default_rng(0).uniform(0, 255, (2, 5, 7, 2)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    code = (
        "import sys, numpy, mlflow; mlflow.set_tracking_uri(sys.argv[1])\n"
        "model = mlflow.pyfunc.load_model(sys.argv[2])\n"
        "numpy.save('logits.npy', model.predict(numpy.load('images.npy')))\n"
        "sys.exit('segframe' in sys.modules)"
    )
    arguments = [sys.executable, "-c", code, tracker.uri, "models:/cells of Läufe/1"]
    assert subprocess.run(arguments, cwd=tmp_path).returncode == 0
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), model(images), rtol=1e-5)


def mlflow_model_of(client, model_id, folder):
    """The MLmodel file of a logged model, and the folder below `folder` that has all its files."""
    from mlflow.artifacts import download_artifacts
    from mlflow.models import Model

    place = client.get_logged_model(model_id).artifact_location
    files = download_artifacts(artifact_uri=place, dst_path=str(folder))
    return Model.load(files), files


def test_an_environment_without_pip_is_nothing_to_warn_of(monkeypatch, capfd):
    from mlflow.utils import environment

    from segframe.plugins.mlflow_model import _environment_without_pip

    monkeypatch.setattr(environment, "_get_package_version", lambda package: None)  # as in uv's environments
    with _environment_without_pip():
        environment._mlflow_conda_env()
    assert "pip" not in capfd.readouterr().err
    environment._mlflow_conda_env()
    assert "Failed to resolve installed pip version" in capfd.readouterr().err


@pytest.mark.parametrize("name, log_model", [("a/b", True), ("a:b", True), ("  ", True), ("a", False)])
def test_a_name_that_no_model_can_have_is_refused(name, log_model):
    with pytest.raises(SegframeError, match=r"tracker\.register_as: expected"):
        build_mlflow(uri="sqlite:///runs/mlflow.db", register_as=name, log_model=log_model)


def test_a_database_elsewhere_has_no_folder_beside_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SegframeError, match=r"tracker\.artifacts: expected .*, got null") as refused:
        build_mlflow(uri="postgresql://me:secret@host/db")
    assert "secret" not in str(refused.value)
    for given, kept_at in (
        ("my files", (tmp_path / "my files").as_uri()),
        ("s3://bucket/x", "s3://bucket/x"),
    ):
        assert build_mlflow(uri="postgresql://me@host/db", artifacts=given).artifacts == kept_at
    assert build_mlflow(uri="http://host:5000").artifacts is None


def test_no_model_is_kept_where_the_config_says_so(runs_dir):
    tracker = build_mlflow(uri=f"sqlite:///{runs_dir}/mlflow.db", log_model=False)
    with tracker.run(runs_dir / "run", "name") as run:
        run.model(runs_dir / "not even there", runs_dir / "nor this")
    assert not kept(tracker, run).outputs.model_outputs


def test_the_weights_of_a_run_on_another_machine_are_fetched_once(tracker, runs_dir, own_cache):
    (runs_dir / "model.weights.h5").write_bytes(b"weights")
    ids = {}
    for name in ("with", "without"):
        with tracker.run(runs_dir / "elsewhere" / name, name) as run:
            run.tags({"segframe.folder": "/on/another/machine"})
            if name == "with":
                run.file(runs_dir / "model.weights.h5")
        ids[name] = run.run_id
    for _ in range(2):
        file = weights_of(ids["with"], runs_dir, None)
        assert file.read_bytes() == b"weights" and own_cache in file.parents
        shutil.rmtree(runs_dir / "artifacts", ignore_errors=True)
    shutil.rmtree(own_cache)
    with pytest.raises(SegframeError, match="expected a run whose folder is on this machine, or whose model"):
        weights_of(ids["without"], runs_dir, tracker.uri)
