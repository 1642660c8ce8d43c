"""segframe.plugins.previews: tables and pictures of a run, and of train.score_test_at's epochs."""

import csv
import logging
import os
import signal
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from segframe import hookimpl
from segframe.evaluator import Evaluator
from segframe.experiment import run_experiment
from segframe.interrupt import Interrupted
from segframe.plugins import previews

SCORED = ("split.val=none", "train.score_test_at=[1,3]", "optimizer.learning_rate=0.03")


def table(folder, name):
    with open(Path(folder) / name, encoding="utf-8") as file:
        return list(csv.DictReader(file))


def pictures(folder):
    return {file.name: file.read_bytes() for file in (Path(folder) / "figures").glob("test_epoch_*.png")}


class StopAt:
    """Sends this process SIGTERM after a step."""

    def __init__(self, step):
        self.step = step

    @hookimpl
    def segframe_callbacks(self, run):
        return [self]

    def on_step(self, step, logs):
        if step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def test_each_test_image_has_its_scores_and_its_picture_at_the_epochs_asked_for(plugins, config):
    result = run_experiment(plugins, config(*SCORED))
    assert set(result.per_image_test_at) == {"1", "3"}
    for epoch, scores in result.test_at.items():
        found = result.per_image_test_at[epoch]
        assert found["id"] == ["test-0", "test-1", "test-2"]
        for key in ("iou", "dice", "pixel_accuracy", "iou/square"):
            assert np.mean(found[key]) == pytest.approx(scores[key], abs=1e-12)
    assert result.per_image_test_at["3"] == result.per_image["test"]  # the last weights are the chosen ones
    rows = table(result.out_dir, "per_image_test_at.csv")
    assert [(row["epoch"], row["id"]) for row in rows] == [
        (epoch, f"test-{number}") for epoch in ("1", "3") for number in range(3)
    ]
    assert float(rows[1]["iou"]) == result.per_image_test_at["1"]["iou"][1]
    drawn = pictures(result.out_dir)
    assert set(drawn) == {"test_epoch_1.png", "test_epoch_3.png"}
    assert drawn["test_epoch_1.png"] != drawn["test_epoch_3.png"]  # each with the weights of its epoch


def test_without_epochs_to_score_there_is_neither(plugins, config):
    result = run_experiment(plugins, config("train.epochs=1"))
    assert result.per_image_test_at == {} and not pictures(result.out_dir)
    assert not (Path(result.out_dir) / "per_image_test_at.csv").exists()
    assert [row["part"] for row in table(result.out_dir, "per_image.csv")] == ["test"] * 3


@pytest.mark.slow
def test_a_run_that_was_stopped_between_two_of_them_ends_with_the_same_tables_and_pictures(
    plugins, config, tmp_path
):
    whole = run_experiment(plugins, config(*SCORED, f"runs_dir='{tmp_path}/whole'"))
    stopper = StopAt(5)  # of three steps an epoch: at the end of the second
    plugins.register(stopper)
    with pytest.raises(Interrupted):
        run_experiment(plugins, config(*SCORED))
    plugins.unregister(stopper)
    resumed = run_experiment(plugins, config(*SCORED))
    assert resumed.per_image_test_at == whole.per_image_test_at
    assert pictures(resumed.out_dir) == pictures(whole.out_dir)
    name = "per_image_test_at.csv"
    assert (Path(resumed.out_dir) / name).read_bytes() == (Path(whole.out_dir) / name).read_bytes()


def test_many_test_images_fill_pages_and_those_left_out_are_said(plugins, config, monkeypatch, caplog):
    monkeypatch.setattr(previews, "MOST_IMAGES", 2)
    monkeypatch.setattr(previews, "PAGE", 1)
    caplog.set_level(logging.INFO, "segframe")
    result = run_experiment(plugins, config("split.val=none", "train.epochs=1", "train.score_test_at=[1]"))
    assert set(pictures(result.out_dir)) == {"test_epoch_1_page_1.png", "test_epoch_1_page_2.png"}
    assert "Epoch 1: the first 2 of 3 test images are drawn." in caplog.text
    page = matplotlib.image.imread(Path(result.out_dir) / "figures" / "test_epoch_1_page_1.png")
    assert page.shape[1] > page.shape[0]  # one row of four


def drawn_rows(plugins, config, monkeypatch, *words):
    """The rows of the last figure of images, and how many samples were predicted for it at a time."""
    rows, together = [], []
    monkeypatch.setattr("segframe.figures.overlay_grid", lambda path, samples, names: rows.extend(samples))
    predict = Evaluator.predict

    def counted(self, part, positions):
        together.append(len(positions))
        return predict(self, part, positions)

    monkeypatch.setattr(Evaluator, "predict", counted)
    run_experiment(plugins, config("train.epochs=1", *words))
    return rows, together


def test_one_test_image_is_drawn_once(plugins, config, monkeypatch, hdf5_file):
    path = hdf5_file(splits={"train": 4, "val": 2, "test": 1})
    rows, together = drawn_rows(plugins, config, monkeypatch, f"dataset.path='{path}'")
    assert [row.title.partition(", Dice")[0] for row in rows] == ["worst and median and best: test 0"]
    assert together == [1]


def test_large_images_are_predicted_one_by_one_and_kept_as_they_are_drawn(plugins, config, monkeypatch):
    monkeypatch.setattr("segframe.dataset.at_once", lambda dataset: 1)
    monkeypatch.setattr("segframe.figures.LARGEST", 20)
    rows, together = drawn_rows(plugins, config, monkeypatch)
    assert len(rows) == 3 and together == [1, 1, 1]
    for row in rows:
        for values in row[1:]:
            assert max(values.shape[:2]) <= 20 and values.base is None
