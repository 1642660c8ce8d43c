"""The verb `reproduce`: what is missing is named before anything runs; the same again is bit-identical."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from segframe import identity
from segframe.__main__ import main
from segframe.assemble import facts
from segframe.catalog import build
from segframe.experiment import check_config
from segframe.plugins.reproduce_check import examine
from segframe.plugins.reproduce_command import _config
from segframe.plugins.reproduce_compare import (
    DIFFERS,
    IDENTICAL,
    WITHIN,
    compared,
    operations_that_differ,
)
from segframe.plugins.reproduce_record import Recorded, recorded
from segframe.plugins.reproduce_words import told
from segframe.record import FINISHED, Record
from segframe.split import parts


def numbers(loss=0.5, dice=0.8, image=0.7, folder=None, digest="a"):
    """A finished run of two epochs, as its files have it."""
    entry = {"learning_rate": 1e-3, "train/loss": loss, "val/dice": dice, "images_per_second": 3.0}
    scores = {"val/dice": dice, "test/dice": 0.75, "test/hd95": None}
    result = {
        "epoch": 2,
        "scores": scores,
        "per_image": {"test": {"id": ["a", "b"], "dice": [image, None]}},
    }
    history = [
        {"epoch": 1, "step": 3, **entry, "train/loss": 0.9, "val/dice": 0.1},
        {"epoch": 2, "step": 6, **entry},
    ]
    return Recorded("run", folder or Path("nowhere"), {}, {"weights_sha256": digest}, history, result)


def test_the_same_numbers_and_weights_are_bit_identical_whatever_the_clock_says():
    after = numbers()
    after.history[1]["images_per_second"] = 9.0
    found = compared(numbers(), after, 1e-3)
    assert found["verdict"] == IDENTICAL and found["unlike"] == 0 and found["weights"]["identical"] is True
    (line,) = told({**found, "run": "run", "not_as_it_was": []})
    assert "bit-identical" in line and "their digest" in line
    assert compared(numbers(), numbers(digest="b"), 1e-3)["verdict"] == WITHIN


def test_operations_that_another_implementation_computed_are_named():
    then, now = numbers(), numbers()
    now.facts["operations"] = {"convolution": "compiled, Avx2"}
    assert operations_that_differ(then, now) == []  # a run of before that was recorded
    then.facts["operations"] = {"convolution": "TensorFlow"}
    assert operations_that_differ(then, now) == ["operation convolution: TensorFlow -> compiled, Avx2"]


def test_small_differences_are_within_the_tolerance_with_their_numbers():
    found = compared(numbers(), numbers(loss=0.5001, dice=0.8004, digest="b"), 1e-3)
    assert found["verdict"] == WITHIN and found["first_epoch_that_differs"] == 2
    assert found["largest"]["score"]["difference"] == pytest.approx(0.0004)
    assert found["largest"]["loss"]["difference"] == pytest.approx(0.0001 / 0.5001)
    assert found["largest"]["loss"]["at"] == "epoch 2 train/loss"
    assert compared(numbers(), numbers(dice=0.8004), 1e-4)["verdict"] == DIFFERS
    text = "\n".join(told({**found, "run": "run", "not_as_it_was": ["threads: 2 -> 4"]}))
    assert "within tolerance (tolerance 0.001)" in text and "  threads: 2 -> 4" in text
    assert "epoch 2: train/loss 0.5 -> 0.5001, val/dice 0.8 -> 0.8004" in text


def test_what_is_missing_or_undefined_on_one_side_is_in_no_tolerance():
    after = numbers(image=0.7)
    after.history.pop()
    assert compared(numbers(), after, 1.0)["verdict"] == DIFFERS
    after = numbers()
    after.result["per_image"]["test"]["dice"][1] = 0.5
    found = compared(numbers(), after, 1.0)
    assert found["verdict"] == DIFFERS and found["largest"]["score"]["at"] == "image b test/dice"


def test_weights_are_compared_number_by_number_where_both_files_are_here(tmp_path):
    runs = []
    for name, value in (("one", 1.0), ("same", 1.0), ("other", 1.25)):
        (tmp_path / name).mkdir()
        with h5py.File(tmp_path / name / "model.weights.h5", "w") as file:
            file["layers/conv/vars/0"] = [[value, 2.0], [3.0, 4.0]]
        runs.append(numbers(folder=tmp_path / name))
    assert compared(runs[0], runs[1], 0.0)["weights"] == {"identical": True, "by": "the files", "numbers": 4}
    found = compared(runs[0], runs[2], 0.0)
    assert found["weights"]["largest"] == 0.25 and found["weights"]["at"] == "layers/conv/vars/0"
    assert found["verdict"] == WITHIN  # no loss or score differs


@pytest.fixture
def finished(config, plugins, tmp_path):
    """The record of a run that was not trained, as far as a check needs it."""
    made = config()
    dataset = build(plugins, "dataset", made["dataset"])
    own = identity.identity_of(made, dataset.content_hash, identity.code_hash())
    record = Record(tmp_path / "runs" / "a run")
    record.folder.mkdir(parents=True)
    known = facts(plugins, dataset, own, parts(dataset, made["split"]))
    record.write("record.json", {**known, "threads": 2})
    record.write_config(made)
    record.write("result.json", {"epoch": 1, "scores": {}, "per_image": {}})
    record.set_status(FINISHED)
    return record


def examined(record, plugins, tmp_path, **change):
    found = recorded(str(record.folder), tmp_path, None, tmp_path)
    return examine(found, plugins, {**found.config, **change}, tmp_path / "scratch")


def changed(record, **parts):
    record.write("record.json", record.read("record.json") | parts)


def test_where_nothing_is_missing_nothing_is_said_but_the_device(finished, plugins, tmp_path):
    found = examined(finished, plugins, tmp_path)
    assert not found.missing and not found.plugins
    assert not [line for line in found.differing if not line.startswith(("GPUs", "processor", "train.det"))]


def test_data_that_were_changed_or_are_gone_are_missing(finished, plugins, tmp_path, squares):
    with h5py.File(squares, "r+") as file:
        file["val/images"][0, 0, 0] = 3
    (line,) = examined(finished, plugins, tmp_path).missing
    assert line.startswith("the data: the content hash is ") and "they were changed" in line
    squares.unlink()
    (line,) = examined(finished, plugins, tmp_path).missing
    assert line.startswith("the data: ") and "squares.h5" in line


def test_other_samples_are_missing(finished, plugins, tmp_path):
    record = finished.read("record.json")
    record["data"]["samples"]["train"].pop()
    finished.write("record.json", record)
    (line,) = examined(finished, plugins, tmp_path).missing
    assert "one that began with others in train" in line


def test_plugins_software_and_code_that_differ_are_named_with_the_way_to_get_them(
    finished, plugins, tmp_path
):
    record = finished.read("record.json")
    versions = record["versions"] | {"tensorflow-cpu": "2.20.0", "plugin gone": "gone-plugin 1.2"}
    git = record["git"] | {"segframe_diff": "diff --git a/x b/x\n"}
    changed(
        finished,
        versions=versions,
        git=git,
        identity=record["identity"] | {"code": "other"},
        environment={"TF_ENABLE_ONEDNN_OPTS": "0"},
        went_on_elsewhere=["threads: 2 -> 8"],
    )
    found = examined(finished, plugins, tmp_path)
    assert found.plugins == ["the plugin gone of gone-plugin 1.2, which is not installed"]
    text = "\n".join(found.differing)
    assert "versions: tensorflow-cpu: 2.20.0 -> " in text
    assert "environment: TF_ENABLE_ONEDNN_OPTS: 0 -> none" in text
    assert "the run itself went on elsewhere after a stop: threads: 2 -> 8" in text
    assert "code of segframe or of a plugin: " in text and "with uncommitted changes -> " in text
    if git["segframe"]:
        assert "worktree add" in found.hints[0] and git["segframe"][:12] in found.hints[0]
        changed(finished, git=git | {"segframe": "0" * 40})
        (hint,) = examined(finished, plugins, tmp_path).hints
        assert hint.startswith("commit 0000000000") and "in no repository here" in hint


def test_a_config_that_this_version_does_not_take_is_missing(finished, plugins, tmp_path):
    split = {"val": "auto"}
    (line,) = examined(finished, plugins, tmp_path, split=split).missing
    assert line.startswith("what the config asks for: split.")


def test_a_run_from_before_norm_statistics_is_scored_as_it_was(finished, plugins, tmp_path):
    before = recorded(str(finished.folder), tmp_path, None, tmp_path)
    assert _config(before, tmp_path, tmp_path, None)["train"]["norm_statistics"] == "auto"
    del before.config["train"]["norm_statistics"]
    config = _config(before, tmp_path, tmp_path, None)
    assert config["train"]["norm_statistics"] == "running"
    check_config(plugins, config)


def test_an_unfinished_run_and_none_at_all_are_refused(finished, tmp_path, capsys):
    finished.set_status("interrupted")
    assert main(["reproduce", str(finished.folder)]) == 2
    assert "one that is interrupted" in capsys.readouterr().err
    assert main(["reproduce", str(tmp_path / "runs")]) == 2
    assert "no config.yaml in it" in capsys.readouterr().err


def test_a_finished_run_is_not_compared_with_itself(finished, capsys):
    assert main(["reproduce", str(finished.folder), "--out", str(finished.folder)]) == 2
    assert "one with a finished run" in capsys.readouterr().err


def test_the_changes_of_the_code_can_be_had_as_a_file(finished, tmp_path, capsys):
    record = finished.read("record.json")
    changed(finished, git=record["git"] | {"segframe": "f" * 40, "segframe_diff": "diff --git a/ö b/ö\n"})
    assert main(["reproduce", str(finished.folder), "--diff", str(tmp_path / "changes")]) == 0
    assert (tmp_path / "changes").read_text(encoding="utf-8") == "diff --git a/ö b/ö\n"
    changed(finished, git=record["git"] | {"segframe_diff": ""})
    assert main(["reproduce", str(finished.folder), "--diff", str(tmp_path / "none")]) == 2


@pytest.mark.slow
@pytest.mark.bundled
def test_a_run_is_reproduced_bit_for_bit_from_its_folder_and_from_mlflow_alone(tmp_path):
    home = tmp_path / "meine Läufe"
    home.mkdir()

    def command(*words):
        done = subprocess.run(
            [sys.executable, "-m", "segframe", *map(str, words)],
            cwd=home, capture_output=True, text=True, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"},
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    sizes = ["dataset.samples_train=6", "dataset.samples_val=3", "dataset.samples_test=3", "dataset.size=32"]
    recipe = ["model=uresnet", "model.filters=2", "model.depth=1", "model.dropout=0.2", "augment=full"]
    training = ["train.epochs=2", "train.batch_size=2", "train.determinism=strict", "device.threads=2",
                "optimizer.learning_rate=0.01", "tracker.log_model=false",
                "split.train_fraction=0.7"]  # fmt: skip
    code, said = command(*sizes, *recipe, *training)
    assert code == 0, said
    (file,) = (home / "runs").glob("*/record.json")
    folder, record = file.parent, Record(file.parent)
    run_id = record.read("tracker.json")["run_id"]

    code, said = command("reproduce", folder, "--check")
    assert code == 0 and "All is as it was" in said, said
    assert not (home / "runs/reproductions").exists()
    code, said = command("reproduce", folder)
    assert code == 0 and "bit-identical" in said and "weights" in said, said
    again = json.loads((home / f"runs/reproductions/{folder.name}/reproduction.json").read_text())
    assert again["verdict"] == IDENTICAL and again["weights"]["by"] == "the files"

    elsewhere = tmp_path / "elsewhere"
    shutil.move(folder, elsewhere)
    code, said = command("reproduce", run_id, "--out", home / "from mlflow")
    assert code == 0 and "the weights by their digest" in said, said

    config = elsewhere / "config.yaml"
    text = config.read_text()
    config.write_text(text.replace("seed: 0\nruns_dir", "seed: 1\nruns_dir"))
    assert config.read_text() != text
    code, said = command("reproduce", elsewhere, "--out", home / "other seed")
    assert code == 1 and "differs (tolerance 0.001)" in said and "Nothing that is recorded differs" in said
    assert "largest share of a loss" in said and "epoch 1: train/loss" in said
