"""segframe.summary: the end of a run in a few lines."""

import re

import pytest

from segframe.experiment import RunResult
from segframe.manager import plugin_manager
from segframe.summary import summarise

PLUGINS = plugin_manager(installed=False)


def scores(part, names=("background", "Zelle [1]")):
    found = {f"{part}/pixel_accuracy": 0.97, f"{part}/loss": 0.1}
    for metric, value in {"dice": 0.9, "iou": 0.8, "dice_pooled": 0.7, "iou_pooled": None}.items():
        found[f"{part}/{metric}"] = value
        found |= {f"{part}/{metric}/{name}": value and value - 0.01 * i for i, name in enumerate(names)}
    return found


def result(found, **more):
    per_image = {part: {"id": ["a", "b", "c"]} for part in ("val", "test")}
    given = {"objective": 0.91, "epoch": 7, "chosen_by": "val/dice", "out_dir": "Läufe 1/unser [2]", **more}
    return RunResult(scores=found, per_image=per_image, **given)


@pytest.fixture
def told(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def tell(found, tracker=None):
        summarise(
            PLUGINS, {"tracker": tracker or {"name": "mlflow", "uri": "sqlite:///runs/mlflow.db"}}, found
        )
        assert not list(tmp_path.iterdir())  # saying where to look makes no store
        return capsys.readouterr().out

    return tell


def test_it_says_the_scores_of_each_class_and_where_the_run_lies(told):
    out = told(result({**scores("val"), **scores("test")}))
    assert "test: 3 images, weights of epoch 7 (chosen by val/dice)" in out
    cell = r"Zelle \[1\] +│ +0\.8900 │ +0\.7900 │ +0\.6900 │ +undefined"
    assert re.search(r"background +│ +0\.9000 │ +0\.8000 │ +0\.7000 │ +undefined", out)
    assert re.search(cell, out) and re.search(r"foreground mean +│ +0\.9000 │ +0\.8000", out)
    assert "pixel accuracy 0.9700; objective val/dice 0.9100" in out
    assert out.endswith("run: 'Läufe 1/unser [2]'\ncompare: python -m segframe ui\n")


def test_without_a_test_split_it_says_validations_scores(told):
    assert "val: 3 images" in told(result(scores("val")))


def test_scores_that_were_asked_for_on_the_way_are_said_as_such(told):
    at = {"30": {"dice": 0.5, "iou": 0.4, "pixel_accuracy": None}}
    out = told(result(scores("test"), objective=None, chosen_by="last epoch", test_at=at))
    assert "test after epoch 30 (asked for, not used to choose): dice 0.5000, iou 0.4000, pixel" in out
    assert "pixel_accuracy undefined" in out and "objective val/dice undefined" in out


def test_without_scores_and_tracker_it_says_where_the_run_lies(told):
    assert told(result({}), {"name": "none"}) == "run: 'Läufe 1/unser [2]'\n"
