"""Every file of conf/experiment is run: for one epoch, on tiny data, with a small network."""

from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_module

from segframe.compose import register
from segframe.experiment import run_experiment
from segframe.manager import plugin_manager
from segframe.train_command import plain

pytestmark = pytest.mark.bundled

FILES = sorted((Path(__file__).parents[1] / "conf" / "experiment").glob("*.yaml"))
SMALLER = {"model.filters": "2", "model.depth": "2", "train.epochs": "1", "train.score_test_at": "[1]",
           "dataset.samples_train": "4", "dataset.samples_val": "2", "dataset.samples_test": "2",
           "dataset.size": "32", "optimizer.schedule.warmup_steps": "0",
           "train.steps_per_epoch": "null"}  # fmt: skip


ALIKE = ("cars_adam_augmented", "cars_sgd", "upsampling")
"""Files that differ from another one in some words."""


@pytest.mark.parametrize(
    "file",
    [pytest.param(file, marks=[pytest.mark.slow] if file.stem in ALIKE else []) for file in FILES],
    ids=lambda file: file.stem,
)
def test_the_experiment_runs(file, small_cars, tmp_path):
    chosen = yaml.safe_load(file.read_text()).get("defaults", [])
    needs_file = {"override /dataset": "hdf5"} in chosen
    words = [f"experiment={file.stem}", "tracker=none", f"runs_dir='{tmp_path}/runs'"]
    words += [f"dataset.path='{small_cars}'"] if needs_file else []
    register()
    with initialize_config_module("segframe.conf", version_base="1.3"):
        whole = compose("config", words)
        there = [key for key in SMALLER if _has(whole, key)]
        config = plain(compose("config", [*words, *(f"{key}={SMALLER[key]}" for key in there)]))
    result = run_experiment(plugin_manager(), config)
    assert 0 <= result.scores["test/pixel_accuracy"] <= 1
    assert result.epoch == 1 and set(result.test_at) == {"1"}
    assert (Path(result.out_dir) / "saved_model" / "saved_model.pb").exists()


def _has(config, path):
    for key in path.split("."):
        if key not in config:
            return False
        config = config[key]
    return True
