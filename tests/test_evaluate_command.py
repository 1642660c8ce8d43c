"""The verb `evaluate`: a run's own scores bit for bit, other data, classes and metrics, what is refused."""

import csv
import json
import shutil

import h5py
import numpy as np
import pytest

from segframe.__main__ import main
from segframe.experiment import run_experiment
from segframe.manager import plugin_manager
from segframe.metrics import confusion, split_scores
from segframe.plugins.compare_evaluation import as_evaluated
from segframe.plugins.compare_run import read_run
from segframe.record import Record

pytestmark = pytest.mark.bundled

SIZES = [(16, 21), (13, 24), (16, 24), (10, 9), (16, 24)]


def write(path, splits, names=("background", "square"), ids=(0, 1), channels=1, seed=0, spacing=None):
    """Bright squares on noise, in images of several sizes."""
    random = np.random.default_rng(seed)
    with h5py.File(path, "w") as file:
        file.attrs["class_names"] = list(names)
        if spacing:
            file.attrs["spacing"] = spacing
        for split, samples in splits.items():
            for number in range(samples):
                mask = np.full(SIZES[number % len(SIZES)], ids[0], np.uint8)
                mask[2 : 6 + number, 3 : 5 + number] = ids[1]
                image = random.normal(60, 20, (*mask.shape, channels)) + 100 * (mask == ids[1])[..., None]
                file[f"{split}/images/{split} {number}"] = np.clip(image, 0, 255).astype(np.uint8)
                file[f"{split}/masks/{split} {number}"] = mask
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory, empty_database):
    """The folder of a run, tracked, with the requested metrics; its data lie beside it."""
    from hydra import compose, initialize_config_module

    from segframe.compose import register
    from segframe.train_command import plain

    folder = tmp_path_factory.mktemp("evaluated")
    write(folder / "own.h5", {"train": 4, "val": 2, "test": 5})
    (folder / "runs").mkdir()
    shutil.copy(empty_database, folder / "runs/mlflow.db")
    register()
    words = ["dataset=hdf5", f"dataset.path='{folder}/own.h5'", "train.epochs=1", "train.batch_size=2",
             f"runs_dir='{folder}/runs'", "model.filters=2", "model.depth=1", "metrics=all",
             "tracker.log_model=false", "optimizer.learning_rate=0.01"]  # fmt: skip
    with initialize_config_module("segframe.conf", version_base="1.3"):
        config = plain(compose("config", words))
    return Record(run_experiment(plugin_manager(), config).out_dir).folder


@pytest.fixture
def run(trained):
    """The same, without evaluations of before."""
    from pathlib import Path

    shutil.rmtree(Path(trained) / "evaluations", ignore_errors=True)
    return Path(trained)


def evaluated(run, *words, name=None):
    assert main(["evaluate", str(run), *map(str, words)]) == 0
    files = list((run / "evaluations").glob(f"{name or '*'}.json"))
    assert len(files) == 1
    return json.loads(files[0].read_text())


def refused(capsys, *words):
    assert main(["evaluate", *map(str, words)]) == 2
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("how", ["own", "file"])
def test_on_its_own_test_split_the_scores_are_the_runs_bit_for_bit(run, capsys, how):
    words = [] if how == "own" else [run.parents[1] / "own.h5"]
    found = evaluated(run, *words, "--no-track")
    result = Record(run).read("result.json")
    wanted = {key.removeprefix("test/"): score for key, score in result["scores"].items() if "test/" in key}
    wanted.pop("loss")
    assert found["scores"] == wanted and "hd95/square" in wanted and "boundary_error" in wanted
    by_image = dict(result["per_image"]["test"])
    by_image.pop("loss")
    assert found["per_image"] == by_image
    assert found["confusion"] == result["confusion"]["test"]
    assert found["metric_contract"] == Record(run).read("record.json")["metric_contract"]
    table = capsys.readouterr().out
    assert "square" in table and "hd95 (px)" in table and f"{wanted['dice']:.4f}" in table
    with open(run / "evaluations/own-test.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == by_image["id"]
    assert [float(row["dice"] or "nan") for row in rows] == pytest.approx(
        [np.nan if value is None else value for value in by_image["dice"]], nan_ok=True
    )


def test_other_data_are_scored_with_the_runs_preprocessing(run, tmp_path):
    from segframe import load_model

    path = write(tmp_path / "Öther one.h5", {"test": 3}, seed=4)  # no train in it
    found = evaluated(run, path, "--metrics", "none", "--no-track", name="*ther_one-test")
    with h5py.File(path) as file:
        model, counts = load_model(run), []
        for name in file["test/images"]:  # one by one: what batches pad is not near these squares
            prediction = model.predict(file[f"test/images/{name}"][()][None])[0]
            counts.append(confusion(file[f"test/masks/{name}"][()], prediction, 2))
    wanted = split_scores(np.stack(counts), ["background", "square"])
    assert found["scores"]["dice"] == pytest.approx(wanted["dice"], abs=0.05)
    assert (
        found["images"] == 3
        and found["data"]["split"] == "test"
        and "requested" not in found["metric_contract"]
    )


def test_classes_are_taken_by_name_and_renamed_on_request(run, capsys, tmp_path):
    plain = evaluated(run, write(tmp_path / "plain.h5", {"test": 3}, seed=4), "--no-track")
    shutil.rmtree(run / "evaluations")
    turned = write(tmp_path / "turned.h5", {"test": 3}, ("square", "background"), (1, 0), seed=4)
    assert evaluated(run, turned, "--no-track")["scores"] == plain["scores"]
    shutil.rmtree(run / "evaluations")
    other = write(tmp_path / "other.h5", {"test": 3}, ("background", "box"), seed=4)
    told = refused(capsys, run, other)
    assert "expected those of the run (background, square), got background, box" in told
    assert "--class box=square says which class of the run it is; --class box= leaves its pixels out" in told
    found = evaluated(run, other, "--class", "box=square", "--no-track")
    assert found["scores"] == plain["scores"]
    assert found["data"]["classes"] == {"background": "background", "box": "square"}
    shutil.rmtree(run / "evaluations")
    left_out = evaluated(run, other, "--class", "box=", "--no-track")
    assert sum(map(sum, left_out["confusion"])) == sum(plain["confusion"][0])
    assert "The data have no square" in capsys.readouterr().err


@pytest.mark.parametrize(
    "make, words, said",
    [
        ({}, ["--split", "val"], "expected a split of the data (test), got 'val'"),
        ({"channels": 3}, [], "the channels of the images: expected 1, as the run's, got 3"),
        ({}, ["--class", "box=square"], "expected a class of the data (background, square), got 'box'"),
        ({}, ["--class", "square"], "expected THEIRS=OURS, got 'square'"),
        ({}, ["--metrics", "surfaces"], "Did you mean 'surface'?"),
        ({}, ["seed=3"], "expected one HDF5 file, or words of dataset and metrics"),
        ({}, ["--name", "../x"], "--name: expected letters, digits"),
        ({}, ["--metrics", "surface", "metrics.surface.tolerance_px=-1"], "metrics.surface.tolerance_px"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_what_does_not_fit_is_said_before_anything_is_computed(run, capsys, tmp_path, make, words, said):
    path = write(tmp_path / "data.h5", {"test": 2}, **make)
    assert said in refused(capsys, run, path, *words)
    assert not list(run.glob("evaluations/*.json"))


def test_an_evaluation_of_other_data_is_not_overwritten(run, capsys, tmp_path):
    first = write(tmp_path / "data.h5", {"test": 2})
    evaluated(run, first, "--no-track")
    evaluated(run, first, "--no-track")
    first.unlink()  # this process has it open
    write(first, {"test": 2}, seed=9)
    assert "one that differs in content_hash" in refused(capsys, run, first)
    evaluated(run, first, "--no-track", "--force")
    assert "one that differs in metrics" in refused(capsys, run, first, "--metrics", "surface")
    evaluated(run, first, "--no-track", "--metrics", "surface", "--name", "surface", name="surface")


def test_scores_of_what_it_was_trained_on_are_said_to_say_little(run, capsys):
    evaluated(run, "--split", "train", "--no-track")
    assert "The run was trained on 4 of these 4 images" in capsys.readouterr().err


def test_the_tracker_has_it_under_the_run_and_track_hands_it_in(run, tmp_path):
    from mlflow import MlflowClient

    tracked = json.loads((run / "tracker.json").read_text())
    client = MlflowClient(tracked["uri"])
    found = evaluated(run, write(tmp_path / "more.h5", {"test": 2}, seed=2), "--metrics", "surface")
    data = client.get_run(tracked["run_id"]).data
    assert data.metrics["eval/more-test/dice"] == found["scores"]["dice"]
    assert data.metrics["eval/more-test/hd95"] == found["scores"]["hd95"]
    assert data.tags["segframe.eval.more-test"] == f"test of {found['data']['content_hash']}"
    assert client.get_run(tracked["run_id"]).info.status == "FINISHED"
    there = {file.path for file in client.list_artifacts(tracked["run_id"], "evaluations")}
    assert there == {"evaluations/more-test.json", "evaluations/more-test.csv"}
    (run / "evaluations/more-test.json").rename(run / "evaluations/again.json")
    assert main(["track", str(run)]) == 0
    assert client.get_run(tracked["run_id"]).data.metrics["eval/again/dice"] == found["scores"]["dice"]


def test_compare_takes_the_scores_of_an_evaluation(run, capsys, tmp_path):
    evaluated(run, write(tmp_path / "more.h5", {"test": 7}, seed=2), "--no-track")
    other = tmp_path / "other"
    shutil.copytree(run, other)
    words = ["compare", str(run), str(other), "--models", "--evaluation", "more-test", "--json", "-"]
    capsys.readouterr()
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    scores = Record(run).read("evaluations/more-test.json")
    assert [row["images"] for row in found["models"]] == [7, 7]
    assert found["models"][0]["mean"] == pytest.approx(scores["scores"]["dice"])
    assert (
        read_run(run).image_scores("dice").keys()
        != as_evaluated(read_run(run), "more-test").image_scores("dice").keys()
    )
    shutil.rmtree(other / "evaluations")
    assert main(words) == 2
    assert "evaluate" in capsys.readouterr().err
