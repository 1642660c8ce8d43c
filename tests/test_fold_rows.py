"""The folds of a sweep as one result: mean and deviation over folds, and all their test images together."""

import json

import numpy as np
import pytest

from hydra_plugins.segframe_launcher.fold_rows import fold_rows, tracked
from hydra_plugins.segframe_launcher.sweep import Job, Sweep
from segframe.atomic import write_json
from segframe.manager import plugin_manager

CLASSES = ["background", "cell"]


@pytest.fixture
def job(tmp_path):
    """A job that ended, with what its run leaves."""

    def make(number, overrides, scores=None, error="", dice=(), confusion=None, folds=3):
        out_dir = tmp_path / f"run-{number}"
        facts = {"data": {"folds": {"folds": folds}, "class_names": CLASSES}}
        out_dir.mkdir()
        write_json(out_dir / "record.json", facts)
        left = {"per_image": {"test": {"dice": list(dice), "iou": list(dice)}}}
        write_json(out_dir / "result.json", left | ({"confusion": {"test": confusion}} if confusion else {}))
        scores = scores or {}
        return Job(number, overrides, scores.get("val/dice"), scores, error, str(out_dir))

    return make


def test_means_deviations_and_images_over_the_folds(job):
    jobs = [
        job(0, ["split.fold=0", "split.folds=3"], {"val/dice": 0.5, "test/dice": 0.6}, dice=[0.6, 0.6],
            confusion=[[8, 2], [1, 9]]),
        job(1, ["split.fold=1", "split.folds=3"], {"val/dice": 0.7, "test/dice": 0.9}, dice=[0.9],
            confusion=[[5, 0], [0, 5]]),
        job(2, ["split.fold=2", "split.folds=3"], {"val/dice": 0.9, "test/dice": None}, dice=[None],
            confusion=[[10, 0], [0, 0]]),
    ]  # fmt: skip
    (row,) = fold_rows(jobs)
    assert (row.finished, row.folds, row.values) == (3, 3, {"split.folds": "3"})
    assert row.scores["val/dice"] == pytest.approx((0.7, 0.2, 3))
    assert row.scores["test/dice"] == pytest.approx((0.75, np.std([0.6, 0.9], ddof=1), 2))
    assert str(row.scores["val/dice"]) == "0.7000 ± 0.2000"
    assert row.images["test/dice"] == pytest.approx(np.mean([0.6, 0.6, 0.9]))
    assert row.pooled["test/dice_pooled/cell"] == pytest.approx(2 * 14 / (2 * 14 + 2 + 1))
    assert row.pooled["test/dice_pooled"] == row.pooled["test/dice_pooled/cell"]
    assert tracked([row]) == pytest.approx(
        {"folds/val/dice": 0.7, "folds_std/val/dice": 0.2, "folds/test/dice": 0.75,
         "folds_std/test/dice": np.std([0.6, 0.9], ddof=1)}
    )  # fmt: skip
    json.dumps(row.as_json())


def test_each_config_has_its_row_and_repeats_belong_together(job):
    jobs = []
    for m, model in enumerate(["a", "b"]):
        for fold in range(3):
            for repeat in range(2):
                words = [f"model={model}", f"split.fold={fold}", f"split.repeat={repeat}"]
                jobs.append(job(len(jobs), words, {"val/dice": m + fold / 10}))
    rows = fold_rows(jobs)
    assert [(row.values, row.finished, row.folds) for row in rows] == [
        ({"model": "a"}, 6, 6), ({"model": "b"}, 6, 6),
    ]  # fmt: skip
    assert [row.scores["val/dice"].mean for row in rows] == pytest.approx([0.1, 1.1])
    assert tracked(rows) == {}


def test_without_folds_there_is_no_row(job):
    assert fold_rows([job(0, ["seed=0"]), job(1, ["seed=1"])]) == []
    assert fold_rows([job(2, ["split.fold=0", "seed=0"]), job(3, ["split.fold=0", "seed=1"])]) == []
    assert fold_rows([]) == []


def test_a_fold_that_failed_is_missing_and_said(job, tmp_path, capsys):
    sweep = Sweep(plugin_manager(installed=False), tmp_path, {"tracker": {"name": "none"}})
    sweep.jobs += [
        job(0, ["split.fold=0"], {"val/dice": 0.5, "test/dice": 0.25}, dice=[0.25]),
        job(1, ["split.fold=1"], error="ValueError: no"),
        job(2, ["split.fold=2"], {"val/dice": 0.75, "test/dice": 0.75}, dice=[0.75]),
    ]
    assert sweep.end() == 1
    out = capsys.readouterr().out
    assert "2 of 3 folds" in out and "0.6250 ± 0.1768" in out and "0.5000 ± 0.3536" in out
    assert "test images of all folds together: test/dice 0.5000" in out
    (kept,) = json.loads((tmp_path / "folds.json").read_text())
    assert kept["scores"]["val/dice"] == {"mean": 0.625, "std": pytest.approx(0.1767767), "folds": 2}
    assert (kept["finished"], kept["folds"]) == (2, 3)
