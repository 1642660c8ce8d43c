"""`compare` on runs that were really trained: the report in HTML, and runs found through MLflow."""

import json
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from segframe.__main__ import main
from segframe.experiment import run_experiment
from segframe.manager import plugin_manager
from segframe.plugins.compare_cases import liked_best, worst_cases
from segframe.plugins.compare_figures import pareto_front
from segframe.plugins.compare_run import read_run
from segframe.plugins.mlflow_tracker import build_mlflow
from segframe.record import Record
from segframe.tracking import hand_in

pytestmark = pytest.mark.bundled


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    """(folder of the runs, data set's file) of two recipes with a run each."""
    from hydra import compose, initialize_config_module

    from segframe.compose import register
    from segframe.train_command import plain

    folder = tmp_path_factory.mktemp("compared")
    random = np.random.default_rng(0)
    with h5py.File(folder / "squares.h5", "w") as file:
        file.attrs["class_names"] = ["background", "square"]
        for split, samples in {"train": 4, "val": 2, "test": 3}.items():
            masks = np.zeros((samples, 16, 16), np.uint8)
            for mask, size in zip(masks, (4, 6, 8, 10), strict=False):
                mask[2 : 2 + size, 3 : 3 + size] = 1
            noise = random.normal(60, 20, masks.shape) + 100 * masks
            file[f"{split}/images"] = np.clip(noise, 0, 255).astype(np.uint8)[..., None]
            file[f"{split}/masks"] = masks
            file[f"{split}/ids"] = [f"{split}-{number}" for number in range(samples)]
    register()
    words = ["dataset=hdf5", f"dataset.path='{folder}/squares.h5'", "tracker=none", "train.epochs=2",
             "train.batch_size=2", f"runs_dir='{folder}/runs'", "model.filters=2",
             "model.depth=1"]  # fmt: skip
    with initialize_config_module("segframe.conf", version_base="1.3"):
        first = Record(Path(run_experiment(plugin_manager(), plain(compose("config", words))).out_dir))
    # Training takes long: the second run is the first one with another word in its record.
    second = Record(first.folder.with_name("second"))
    shutil.copytree(first.folder, second.folder)
    facts = second.read("record.json")
    facts["identity"]["optimizer.learning_rate"] = 0.5
    second.write("record.json", {**facts, "parameters": facts["parameters"] + 1})
    history = [
        {**entry, "train_seconds": 2 * entry["train_seconds"]} for entry in second.read("history.json")
    ]
    second.write("history.json", history)
    costs = second.read("costs.json")
    second.write("costs.json", {**costs, "flops": 2 * costs["flops"], "step_ms": 1.5})
    return folder


@pytest.fixture
def trained(trained_once, tmp_path):
    """Folders of these runs, copied for this test."""
    shutil.copytree(trained_once / "runs", tmp_path / "runs")
    return [file.parent for file in sorted((tmp_path / "runs").glob("*/record.json"))]


def compared(capsys, *words, code=0):
    assert main(["compare", *map(str, words)]) == code
    return capsys.readouterr()


def test_the_report_is_one_file_with_tables_figures_and_the_worst_images(
    capsys, trained, tmp_path, trained_once
):
    report = tmp_path / "Bericht <1>.html"
    compared(capsys, tmp_path / "runs", "--html", report, "--worst", 2)
    page = report.read_text(encoding="utf-8")
    assert "Nothing can be concluded about recipes with fewer than 3 seeds" in page
    assert "optimizer.learning_rate=0.0003" in page and "optimizer.learning_rate=0.5" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page) and "<script" not in page
    assert page.count("data:image/png;base64,") == 8  # curves, strips, four costs, two images
    for cost in ("parameters", "GFLOP/image", "step (ms)", "training (s)"):
        assert f"<h2>val/dice over {cost}, with 95 % intervals</h2>" in page
    runs = {folder.name: [read_run(folder)] for folder in trained}
    scores = [run.result["per_image"]["test"] for (run,) in runs.values()]
    mean = dict(zip(scores[0]["id"], np.mean([score["dice"] for score in scores], axis=0), strict=True))
    expected = sorted(mean, key=mean.get)[:2]
    assert re.findall("<h3>(.*?)</h3>", page) == expected
    assert [name for name, _ in worst_cases(runs, "dice", 1)] == expected[:1]
    squares = trained_once / "squares.h5"
    squares.rename(tmp_path / "elsewhere.h5")
    said = compared(capsys, tmp_path / "runs", "--models", "--html", report)
    (tmp_path / "elsewhere.h5").rename(squares)
    assert "The worst cases are not drawn" in said.err and str(squares) in said.err
    page = report.read_text(encoding="utf-8")
    assert "Not drawn" in page and page.count("data:image/png;base64,") == 2


def test_runs_are_found_by_id_experiment_and_sweep_and_without_their_folders(
    capsys, trained, tmp_path, empty_database
):
    shutil.copy(empty_database, tmp_path / "runs/mlflow.db")
    tracker = build_mlflow(uri=f"sqlite:///{tmp_path}/runs/mlflow.db", experiment="trial", log_model=False)
    parent = tracker.open_sweep("sweep", {})
    for folder in trained:
        hand_in(tracker, Record(folder), parent)
    ids = [json.loads((folder / "tracker.json").read_text())["run_id"] for folder in trained]
    store = ("--runs-dir", tmp_path / "runs", "--json", "-")

    def found(*words):
        captured = compared(capsys, *words, *store)
        rows = json.loads(captured.out)["recipes"]
        return {(row["recipe"], row["val"]["mean"]) for row in rows}, captured.err

    expected, _ = found(*trained)
    assert len(expected) == 2
    for words in (ids, ["--experiment", "trial"], ["--sweep", parent]):
        same, said = found(*words)
        assert same == expected and "fetched" not in said
    for folder in trained:
        shutil.rmtree(folder)
    same, said = found("--experiment", "trial")
    assert same == expected and said.count("fetched from MLflow") == 2
    assert "Did you mean 'trial'?" in compared(capsys, "--experiment", "trail", *store, code=2).err
    assert "expected the id of a run" in compared(capsys, "0" * 32, *store, code=2).err


def test_the_folder_of_a_sweep_names_its_jobs(capsys, trained, tmp_path):
    sweep = tmp_path / "runs/sweeps/today"
    sweep.mkdir(parents=True)
    for number, folder in enumerate(trained):
        (sweep / f"job_{number}.json").write_text(json.dumps({"out_dir": str(folder)}))
    (sweep / "job_10.json").write_text(json.dumps({"error": "no such loss\nmore"}))
    said = compared(capsys, "--sweep", "today", "--runs-dir", tmp_path / "runs")
    assert "job_10 of the sweep has no folder here (no such loss)" in said.err
    assert "optimizer.learning_rate=0.5" in said.out


@pytest.mark.parametrize(("larger", "best"), [(True, "second"), (False, "third")])
def test_the_worst_cases_are_of_the_run_that_validation_likes_best(trained, larger, best):
    """Below zero where more is better, and above where less is: neither may lose to a run without a score."""
    values = {"undefined": None, "second": -0.1 if larger else 0.4, "third": -0.2 if larger else 0.3}
    for name, value in values.items():
        folder = trained[0].with_name(name)
        if not folder.exists():
            shutil.copytree(trained[0], folder)
        for file, change in (
            ("result.json", {"scores": {"val/own": value}}),
            (
                "record.json",
                {"metric_contract": {"requested": {"own": {"larger_is_better": {"own": larger}}}}},
            ),
        ):
            record = Record(folder)
            record.write(file, {**record.read(file), **change})
    runs = [read_run(trained[0].with_name(name)) for name in values]
    assert liked_best(runs, "own").name == best


def test_the_front_is_what_nothing_cheaper_beats():
    points = [(3, 0.9), (1, 0.5), (2, 0.4), (2, 0.7), (4, 0.9), (1, 0.3)]
    assert pareto_front(points, larger=True) == [(1, 0.5), (2, 0.7), (3, 0.9)]
    assert pareto_front(points, larger=False) == [(1, 0.3)]
