"""segframe.experiment and the default fit: one run from config to scores, and what it leaves."""

import csv
import json
import logging
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from segframe import SegframeError, hookimpl
from segframe.checkpoint import digest_of, load
from segframe.experiment import RunResult, run_experiment
from segframe.record import Record


class Spy:
    """A callback plugin that notes what it is told."""

    def __init__(self):
        self.steps, self.epochs, self.closed = [], [], 0

    @hookimpl
    def segframe_callbacks(self, run):
        return [self]

    def on_step(self, step, logs):
        self.steps.append((step, logs["loss"]))

    def on_epoch(self, epoch, logs):
        self.epochs.append((epoch, dict(logs)))

    def close(self):
        self.closed += 1


def test_a_run_trains_chooses_by_validation_and_leaves_its_record(plugins, config):
    spy = Spy()
    plugins.register(spy)
    result = run_experiment(plugins, config("train.epochs=6", "optimizer.learning_rate=0.01"))
    record = Record(Path(result.out_dir))
    history = record.read("history.json")
    assert [entry["epoch"] for entry in history] == list(range(1, 7))
    best = max(history, key=lambda entry: entry["val/dice"])
    assert (result.epoch, result.objective) == (best["epoch"], best["val/dice"])
    assert result.scores["val/dice"] == best["val/dice"]  # the chosen weights were restored, exactly
    assert result.scores["test/dice"] > 0.8
    assert [step for step, _ in spy.steps] == list(range(18)) and spy.closed == 1
    assert [epoch for epoch, _ in spy.epochs] == list(range(6))
    assert spy.steps[-1][1] < spy.steps[0][1]
    assert record.status() == "finished"
    assert RunResult(**record.read("result.json")) == result
    for name in (
        "config.yaml",
        "checkpoint.h5",
        "run.log",
        "figures/curves.png",
        "figures/test_overlays.png",
    ):
        assert (record.folder / name).stat().st_size
    rows = list(csv.DictReader(open(record.folder / "per_image.csv", encoding="utf-8")))
    assert [row["id"] for row in rows] == ["test-0", "test-1", "test-2"]
    assert float(rows[1]["dice"]) == result.per_image["test"]["dice"][1]
    assert np.mean([float(row["dice"]) for row in rows]) == pytest.approx(result.scores["test/dice"])
    with h5py.File(record.folder / "model.weights.h5") as file:
        assert json.loads(file.attrs["class_names"]) == ["background", "square"]
        assert json.loads(file.attrs["config"])["model"]["name"] == "tiny"
        assert json.loads(file.attrs["normalisation"])["scale"] == 1 / 255
    chosen = load(record.folder / "checkpoint.h5")[0]["best"]
    assert record.read("record.json")["weights_sha256"] == digest_of({"model": chosen})


def test_the_train_loss_of_an_epoch_is_the_mean_over_its_images(plugins, config):
    spy = Spy()
    plugins.register(spy)
    run_experiment(plugins, config("train.batch_size=4", "train.epochs=1"))
    (_, first), (_, second) = spy.steps  # 4 images and 2
    assert spy.epochs[0][1]["train/loss"] == pytest.approx((4 * first + 2 * second) / 6, rel=1e-12)


def test_a_finished_run_is_returned_not_repeated(plugins, config, caplog):
    first = run_experiment(plugins, config())
    caplog.set_level(logging.INFO, "segframe")
    start = time.perf_counter()
    assert run_experiment(plugins, config()) == first
    assert time.perf_counter() - start < 5
    assert "finished already" in caplog.text
    again = run_experiment(plugins, config("train.resume=never"))
    assert again.out_dir == f"{first.out_dir}-2"
    assert again.scores == first.scores


def test_without_validation_the_last_weights_are_scored_and_those_asked_for(plugins, config):
    result = run_experiment(plugins, config("split.val=none", "train.score_test_at=[1,3]"))
    assert (result.objective, result.epoch, result.chosen_by) == (None, 3, "last epoch")
    assert set(result.test_at) == {"1", "3"}
    assert result.test_at["3"]["dice"] == result.scores["test/dice"]
    assert not any(key.startswith("val/") for key in result.scores)


def test_early_stopping_stops(plugins, config, caplog):
    caplog.set_level(logging.INFO, "segframe")
    words = [
        "train.epochs=30",
        "train.early_stopping_epochs=2",
        "optimizer=sgd",
        "optimizer.learning_rate=1e-12",
    ]
    result = run_experiment(plugins, config(*words))
    history = Record(Path(result.out_dir)).read("history.json")
    assert len(history) < 30 and len(history) - result.epoch == 2
    assert f"no better val/dice since epoch {result.epoch}" in caplog.text


def test_the_first_loss_that_is_not_finite_stops_the_run_with_step_and_samples(plugins, config, tmp_path):
    class Breaker:
        @hookimpl
        def segframe_losses(self):
            def build_breaking(*, num_classes, ignore_index, spacing):
                import tensorflow as tf

                calls = tf.Variable(0, dtype=tf.int32)

                def loss(target, logits):
                    broken = tf.cond(
                        calls.assign_add(1) > 2, lambda: np.float32(np.nan), lambda: np.float32(1)
                    )
                    return tf.reduce_mean(logits, (1, 2, 3)) * broken

                return loss

            return {"breaking": build_breaking}

    plugins.register(Breaker())
    broken = config() | {"loss": {"name": "breaking"}}
    with pytest.raises(
        SegframeError, match=r"step 2 \(epoch 1\): expected a finite loss, got nan .*train-\d"
    ):
        run_experiment(plugins, broken)
    (folder,) = (path.parent for path in (tmp_path / "runs").glob("*/status.json"))
    assert Record(folder).status() == "failed"
    assert not (folder / "result.json").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["train.precision=bfloat16"],
        pytest.param(["train.precision=float16", "optimizer.clip_norm=1.0"], marks=pytest.mark.slow),
        [
            "augment=flips",
            "optimizer=sgd",
            "optimizer.schedule.name=cosine",
            "optimizer.schedule.warmup_steps=2",
        ],
        ["train.xla=true", "loss=dice"],
        ["loss=cross_entropy", "optimizer=adamw", "optimizer.schedule.name=polynomial"],
    ],
    ids=lambda words: words[0],
)
def test_the_settings_train(plugins, config, words):
    result = run_experiment(plugins, config("train.epochs=8", "optimizer.learning_rate=0.02", *words))
    assert result.scores["test/dice"] > 0.7


def test_images_of_any_sizes_in_one_set_one_pixel_included(plugins, config, tmp_path):
    path = tmp_path / "sizes.h5"
    random = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file.attrs["class_names"] = ["background", "bright"]
        for split in ("train", "val", "test"):
            for name, size in {"a": (1, 1), "b": (9, 14), "c": (16, 3), "d": (7, 7)}.items():
                bright = np.arange(size[1]) > random.integers(size[1])
                image = random.integers(100, size=(*size, 3)) + 120 * bright[:, None]
                file[f"{split}/images/{split}-{name}"] = image.astype(np.uint8)
                file[f"{split}/masks/{split}-{name}"] = np.broadcast_to(bright, size).astype(np.uint8)
    changed = config("train.epochs=12", "optimizer.learning_rate=0.05") | {
        "dataset": {"name": "hdf5", "path": str(path)}
    }
    result = run_experiment(plugins, changed)
    assert result.scores["test/pixel_accuracy_pooled"] > 0.8
    assert len(result.per_image["test"]["id"]) == 4


def test_a_crash_keeps_its_traceback_and_marks_the_run(plugins, config, tmp_path):
    class Crash:
        @hookimpl
        def segframe_callbacks(self, run):
            return [self]

        def on_step(self, step, logs):
            raise RuntimeError("the callback's own fault")

    plugins.register(Crash())
    with pytest.raises(RuntimeError, match="own fault") as crash:
        run_experiment(plugins, config())
    assert "on_step" in [entry.name for entry in crash.traceback]
    (status,) = (tmp_path / "runs").glob("*/status.json")
    assert json.loads(status.read_text())["error"] == "RuntimeError: the callback's own fault"


def test_float_images_outside_of_0_to_1_are_not_augmented_in_silence(plugins, config, tmp_path):
    path = tmp_path / "floats.h5"
    random = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file.attrs["class_names"] = ["background", "bright"]
        for split in ("train", "val"):
            file[f"{split}/images"] = random.normal(500, 100, (4, 8, 8, 1)).astype(np.float32)
            file[f"{split}/masks"] = random.integers(2, size=(4, 8, 8), dtype=np.uint8)
    changed = config("augment=flips", "train.epochs=1") | {"dataset": {"name": "hdf5", "path": str(path)}}
    with pytest.raises(SegframeError, match=r"augment: expected images in \[0, 1\].*got values from"):
        run_experiment(plugins, changed)
    assert run_experiment(plugins, changed | {"augment": {}}).epoch == 1
