"""The verb `compare` over run folders: what is one recipe, what is refused, what is said, in which files."""

import csv
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from segframe import metrics
from segframe.__main__ import main

BASE = {"dataset.name": "hdf5", "dataset.path": "a.h5", "split.folds": None, "split.seed": 0,
        "model.name": "unet", "optimizer.name": "adam", "optimizer.learning_rate": 1e-3,
        "optimizer.beta_1": 0.9, "augment": {}}  # fmt: skip


@pytest.fixture
def written(tmp_path):
    """Writes the folder of a finished run with these scores, as record.py keeps it."""

    def write(name, val, test=None, *, seed=0, state="finished", images=None, fold=None, contract=None,
              data="d" * 64, **config):  # fmt: skip
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        ids = [f"image {number}" for number in range(40)]
        held = range(0, 8) if fold is None else range(8 * fold, 8 * fold + 8)
        images = list(np.linspace(0.5, 0.9, 8)) if images is None else images
        samples = {
            "train": [ids[i] for i in range(40) if i not in held][:24],
            "val": [ids[i] for i in range(40) if i not in held][24:],
            "test": [ids[i] for i in held],
        }
        keys = {key.replace("__", "."): value for key, value in config.items()}
        identity = {**BASE, **keys, "seed": seed, "data": data, "code": "c"}
        if fold is not None:
            identity |= {"split.folds": 5, "split.fold": fold}
        record = {
            "identity": identity,
            "data": {"samples": samples, "class_names": ["background", "cell"]},
            "metric_contract": contract or metrics.CONTRACT,
            "parameters": 1000,
            "machine": {"processor": "x86_64", "system": "Linux"},
        }
        result = {
            "epoch": 2,
            "scores": {"val/dice": val, "test/dice": val if test is None else test, "test/dice_pooled": 0.7},
            "per_image": {"test": {"id": samples["test"][: len(images)], "dice": images}},
        }
        history = [
            {"epoch": e, "step": 6 * e, "train_seconds": 3.0 if e == 1 else 0.6, "images_per_second": 40.0,
             "val/dice": val * e / 3}
            for e in (1, 2, 3)
        ]  # fmt: skip
        files = {"record": record, "history": history, "status": {"state": state}}
        for key, value in (files | ({"result": result} if state == "finished" else {})).items():
            (folder / f"{key}.json").write_text(json.dumps(value))
        return folder

    return write


def compared(capsys, *words, code=0):
    assert main(["compare", *map(str, words)]) == code
    return capsys.readouterr()


def as_json(capsys, *words):
    return json.loads(compared(capsys, *words, "--json", "-").out)


def study(written, tmp_path, recipes, **config):
    """{label part: scores by seed} as runs that differ in the learning rate."""
    for number, scores in enumerate(recipes):
        for seed, score in enumerate(scores):
            written(f"r{number}s{seed}", score, seed=seed, optimizer__learning_rate=10.0**-number, **config)
    return tmp_path / "runs"


def test_runs_that_differ_in_the_seed_are_one_recipe_and_labels_are_what_differs(capsys, written, tmp_path):
    for seed in range(3):
        written(f"a{seed}", 0.8 + seed / 100, 0.6, seed=seed)
        written(f"b{seed}", 0.7 + seed / 90, seed=seed, dataset__path="moved.h5", optimizer__name="sgd",
                optimizer__momentum=0.9, optimizer__beta_1=None)  # fmt: skip
    found = as_json(capsys, tmp_path / "runs")
    first, second = found["recipes"]
    assert (first["recipe"], second["recipe"]) == ("optimizer=adam", "optimizer=sgd")
    assert first["differs"] == {"optimizer.name": "adam", "optimizer.beta_1": 0.9, "optimizer.momentum": None}
    assert first["val"]["mean"] == pytest.approx(0.81) and first["val"]["std"] == pytest.approx(0.01)
    assert first["test"]["mean"] == pytest.approx(0.6) and len(first["runs"]) == 3
    assert first["cost"] == {
        "parameters": 1000, "train_seconds": pytest.approx(4.2), "images_per_second": 40.0,
        "step_ms": pytest.approx(100.0), "epoch": 2,
    }  # fmt: skip
    (pair,) = found["pairs"]
    assert pair["test"] == "paired t-test" and pair["verdict"] == "better" and pair["p"] < 0.01
    assert found["conclusions"] == ["optimizer=adam is better than optimizer=sgd by val/dice."]


def test_the_higher_mean_is_not_called_better_when_chance_explains_it(capsys, written, tmp_path):
    runs = study(written, tmp_path, [[0.80, 0.86, 0.75], [0.81, 0.78, 0.79]])
    found = as_json(capsys, runs)
    assert found["recipes"][0]["recipe"] == "optimizer.learning_rate=1.0"  # the naive table's winner
    assert [row["ranks"] for row in found["recipes"]] == [[1, 2], [1, 2]]
    assert found["pairs"][0]["verdict"] == "not distinguishable" and found["pairs"][0]["detectable"] > 0.1
    assert "not distinguishable" in found["conclusions"][0]
    assert "not distinguishable" in compared(capsys, runs).out


def test_validation_ranks_whatever_the_test_scores_are(capsys, written, tmp_path):
    for seed in range(3):
        written(f"a{seed}", 0.8 + seed / 1000, 0.1, seed=seed)
        written(f"b{seed}", 0.6 + seed / 900, 0.9, seed=seed, model__name="other")
    found = as_json(capsys, tmp_path / "runs")
    assert [row["recipe"] for row in found["recipes"]] == ["model=unet", "model=other"]
    assert [row["ranks"] for row in found["recipes"]] == [[1, 1], [2, 2]]


def test_fewer_than_three_runs_conclude_nothing(capsys, written, tmp_path):
    runs = study(written, tmp_path, [[0.9, 0.901], [0.1, 0.1011]])
    said = compared(capsys, runs).out
    assert (
        "Nothing can be concluded about recipes with fewer than 3 seeds" in said and "better than" not in said
    )
    assert as_json(capsys, runs)["pairs"][0]["verdict"] == "too few runs"


def test_seeds_that_change_nothing_are_not_evidence(capsys, written, tmp_path):
    runs = study(written, tmp_path, [[0.9] * 3, [0.8] * 3])
    assert "do not spread at all" in as_json(capsys, runs)["conclusions"][0]


def test_folds_are_compared_fold_by_fold_with_the_corrected_test(capsys, written, tmp_path):
    ours, theirs = [0.8, 0.7, 0.82, 0.75, 0.78], [0.79, 0.66, 0.8, 0.72, 0.77]
    for fold in range(5):
        for seed in (0, 1):  # two seeds a fold: their mean counts, once
            written(f"a{fold}{seed}", ours[fold] + seed / 100, seed=seed, fold=fold)
            written(f"b{fold}{seed}", theirs[fold] + seed / 100, seed=seed, fold=fold, model__name="other")
    found = as_json(capsys, tmp_path / "runs")
    d, (pair,) = np.subtract(ours, theirs), found["pairs"]
    error = np.sqrt((1 / 5 + 8 / 24) * d.var(ddof=1))  # 8 validate, 24 train
    from scipy import stats

    assert pair["p"] == pytest.approx(2 * stats.t.sf(d.mean() / error, 4), rel=1e-6)
    assert pair["test"] == "corrected resampled t-test" and pair["n"] == 5 and found["unit"] == "split"
    assert pair["verdict"] == "not distinguishable" and stats.ttest_1samp(d, 0).pvalue < 0.05


def test_a_fold_that_one_recipe_lacks_counts_for_none_and_is_said(capsys, written, tmp_path):
    for fold in range(4):
        written(f"a{fold}", 0.8 + fold / 100, fold=fold)
        if fold:
            written(f"b{fold}", 0.7 + fold / 90, fold=fold, model__name="other")
    found = as_json(capsys, tmp_path / "runs")
    assert found["recipes"][0]["val"]["n"] == 3
    assert any(
        "Only 3 of 4 splits count" in note and "model=other lacks 1" in note for note in found["notes"]
    )


def test_unfinished_and_repeated_runs_are_left_out_and_said(capsys, written, tmp_path):
    study(written, tmp_path, [[0.8, 0.81, 0.82], [0.7, 0.71, 0.73]])
    written("r0s0-2", 0.9, seed=0, optimizer__learning_rate=1.0)
    written("broken", 0.9, seed=9, optimizer__learning_rate=0.1, state="failed")
    found = as_json(capsys, tmp_path / "runs")
    assert [len(row["runs"]) for row in found["recipes"]] == [3, 3]
    assert any("broken (failed)" in note for note in found["notes"])
    assert any("repeat a seed and split" in note for note in found["notes"])
    assert len(found["recipes"][1]["unfinished"]) == 1


def test_other_seeds_are_compared_unpaired(capsys, written, tmp_path):
    for seed in range(3):
        written(f"a{seed}", 0.8 + seed / 100, seed=seed)
        written(f"b{seed}", 0.7 + seed / 90, seed=seed + 10, model__name="other")
    found = as_json(capsys, tmp_path / "runs")
    assert found["pairs"][0]["test"] == "Welch's t-test" and any("other seeds" in n for n in found["notes"])


def test_a_baseline_makes_fewer_tests(capsys, written, tmp_path):
    random = np.random.default_rng(0)
    runs = study(written, tmp_path, random.normal(0.8, 0.02, (4, 4)))
    assert len(as_json(capsys, runs)["pairs"]) == 6
    found = as_json(capsys, runs, "--baseline", "optimizer.learning_rate=0.1")
    assert [pair["b"] for pair in found["pairs"]] == ["optimizer.learning_rate=0.1"] * 3
    said = compared(capsys, runs, "--baseline", "optimizer.learning_rate=0.2", code=2).err
    assert "Did you mean 'optimizer.learning_rate=" in said


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"data": "e" * 64}, "runs of one data set"),
        ({"contract": {**metrics.CONTRACT, "version": 2}}, "runs of one metric contract of dice"),
        ({"fold": 3}, "trained, validated and tested on the same samples"),
    ],
)
def test_runs_whose_numbers_mean_different_things_are_not_ranked(capsys, written, tmp_path, other, words):
    for seed in range(3):
        written(f"a{seed}", 0.8 + seed / 100, seed=seed)
        written(f"b{seed}", 0.7 + seed / 90, seed=seed, **other)
    captured = compared(capsys, tmp_path / "runs", code=2)
    assert words in captured.err and not captured.out


def test_models_are_compared_image_by_image(capsys, written, tmp_path):
    worse = list(np.linspace(0.5, 0.9, 8) - np.linspace(0.01, 0.05, 8))
    a, b, c = (
        written("a", 0.8),
        written("b", 0.9, images=worse, seed=1),
        written("c", 0.8, images=[None, *np.linspace(0.5, 0.9, 8)[1:]], seed=2),
    )
    found = as_json(capsys, a, b, c, "--models")
    pair = next(pair for pair in found["pairs"] if {pair["a"], pair["b"]} == {"a", "b"})
    assert pair["verdict"] == "better" and pair["a"] == "a" and pair["n"] == 8 and pair["p"] == 2 / 2**8
    assert abs(pair["difference"]) == pytest.approx(0.03)
    assert next(row for row in found["models"] if row["model"] == "c")["images"] == 7
    assert "these very weights" in found["population"] and "recipes" not in found
    assert "On this test set" in compared(capsys, a, b, c, "--models").out


@pytest.mark.parametrize(
    ("other", "score", "words"),
    [
        ({"fold": 3}, "dice", "the same test images"),
        ({}, "dice_pooled", "for each test image"),
        ({"state": "failed"}, "dice", "at least two finished runs"),
    ],
)
def test_models_that_cannot_be_compared_are_refused(capsys, written, other, score, words):
    runs = written("a", 0.8), written("b", 0.9, seed=1, **other)
    assert words in compared(capsys, *runs, "--models", "--score", score, code=2).err


def test_six_images_are_the_least(capsys, written):
    runs = written("a", 0.8, images=[0.1, 0.2, 0.3]), written("b", 0.8, images=[0.2, 0.4, 0.6], seed=1)
    assert as_json(capsys, *runs, "--models")["pairs"][0]["verdict"] == "too few images"


def test_models_without_a_common_image_are_not_compared_and_it_is_said(capsys, written):
    runs = [written(name, 0.8, images=values, seed=seed)
            for seed, (name, values) in enumerate({"a": [0.1, None], "b": [None, 0.2]}.items())]  # fmt: skip
    found = as_json(capsys, *runs, "--models")
    assert found["pairs"] == [] and len(found["models"]) == 2
    assert found["notes"] == ["b and a are not compared: no image has a defined score of both"]


def test_csv_has_a_line_for_each_recipe_and_a_column_for_what_differs(capsys, written, tmp_path):
    runs = study(written, tmp_path, [[0.8, 0.81, 0.82], [0.7, 0.71, 0.73]])
    compared(capsys, runs, "--csv", tmp_path / "out.csv")
    with open(tmp_path / "out.csv", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert first["optimizer.learning_rate"] == "1.0" and float(first["val_mean"]) == pytest.approx(0.81)
    assert first["best_rank"] == "1" and second["runs"] == "3"


@pytest.mark.parametrize("option", ["--json", "--csv", "--html"])
def test_a_file_that_cannot_be_written_is_said(capsys, written, tmp_path, option):
    runs = study(written, tmp_path, [[0.8, 0.81, 0.82], [0.7, 0.71, 0.73]])
    said = compared(capsys, runs, option, tmp_path / "no folder" / "file", "--worst", 0, code=2).err
    assert "expected a place to write" in said and "no folder" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "the folder of a run, a glob, or the id of a run in MLflow"),
        ([], "no runs are named"),
        (["--sweep", "nowhere"], "the folder of a sweep"),
        (["0" * 32], "the MLflow store of some runs"),
        (["--experiment", "e"], "the MLflow store of some runs"),
        (["."], "folders of runs"),
    ],
)
def test_what_is_not_there_is_said(capsys, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    assert said in compared(capsys, *words, code=2).err
    assert not list(tmp_path.iterdir())


def test_an_unknown_score_is_answered_with_those_that_there_are(capsys, written, tmp_path):
    runs = study(written, tmp_path, [[0.8, 0.81, 0.82], [0.7, 0.71, 0.73]])
    assert "got val/dice" in compared(capsys, runs, "--score", "hd95", code=2).err


def test_it_starts_without_tensorflow_and_mlflow(written, tmp_path):
    runs = study(written, tmp_path, [[0.8, 0.81, 0.82], [0.7, 0.71, 0.73]])
    program = (
        "import sys; from segframe.__main__ import main; code = main(['compare', sys.argv[1]]);"
        "sys.exit(code or {'tensorflow', 'keras', 'mlflow', 'torch'} & sys.modules.keys() or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(runs)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def shares(written, curve, **config):
    """{share of the training samples: scores by seed}, as sweep=data_fraction leaves them."""
    for fraction, scores in curve.items():
        for seed, score in enumerate(scores):
            words = {"split__train_fraction": fraction, **config}
            folder = written(
                f"f{fraction}s{seed}{'-'.join(map(str, config.values()))}", score, seed=seed, **words
            )
            record = json.loads((folder / "record.json").read_text())
            whole = record["data"]["samples"]["train"]
            if fraction < 1:
                record["data"] |= {"train_of": whole}
                record["data"]["samples"]["train"] = whole[: round(fraction * len(whole))]
                history = json.loads((folder / "history.json").read_text())
                history[-1]["step"] = 5
                (folder / "history.json").write_text(json.dumps(history))
                (folder / "record.json").write_text(json.dumps(record))


def test_shares_of_the_data_are_recipes_on_one_split_with_their_training_samples(capsys, written, tmp_path):
    shares(written, {0.25: (0.5, 0.52, 0.51), 0.5: (0.6, 0.62, 0.64), 1.0: (0.7, 0.71, 0.69)})
    found = as_json(capsys, tmp_path / "runs")
    assert [(row["recipe"], row["train_samples"]) for row in found["recipes"]] == [
        ("split.train_fraction=1.0", 24),
        ("split.train_fraction=0.5", 12),
        ("split.train_fraction=0.25", 6),
    ]
    assert found["unit"] == "seed" and "6 to 24 train" in found["population"]
    assert "5 to 18 a run: train.steps_per_epoch=N" in " ".join(found["notes"])
    table = compared(capsys, tmp_path / "runs").out
    assert "train images" in table and re.search(r"0.5 +│ +12 │ +3 │ 0.6200", table)


def test_the_learning_curve_has_a_line_for_each_recipe_over_its_training_samples(written, tmp_path):
    from segframe.plugins.compare_learning import learning_curve, learning_curves
    from segframe.plugins.compare_run import read_run
    from segframe.plugins.compare_training import compare_recipes

    shares(written, {0.25: (0.5, 0.52), 1.0: (0.7, 0.71)})
    shares(written, {0.25: (0.4, 0.42), 1.0: (0.8, 0.81)}, optimizer__learning_rate=0.1)
    shares(written, {1.0: (0.3, 0.31)}, optimizer__learning_rate=0.2)
    rows = compare_recipes([read_run(folder) for folder in (tmp_path / "runs").glob("*")], "dice")["recipes"]
    points = {
        label: [(row["train_samples"], round(row["val"]["mean"], 3)) for row in group]
        for label, group in learning_curves(rows).items()
    }
    assert points == {
        "optimizer.learning_rate=0.001": [(6, 0.51), (24, 0.705)],
        "optimizer.learning_rate=0.1": [(6, 0.41), (24, 0.805)],
    }
    assert learning_curve(rows, "dice").startswith(b"\x89PNG")
    assert learning_curve([row for row in rows if row["train_samples"] == 24], "dice") is None


def test_a_run_of_before_the_key_trained_on_everything(capsys, written, tmp_path):
    written("old", 0.7, seed=0)
    written("new", 0.8, seed=1, split__train_fraction=1.0, train__determinism="auto")
    written("older", 0.8, seed=2, train__deterministic=False)
    assert [len(row["runs"]) for row in as_json(capsys, tmp_path / "runs")["recipes"]] == [3]
