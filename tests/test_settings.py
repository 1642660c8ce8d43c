"""segframe.settings: the core's own sections."""

import copy
from pathlib import Path

import pytest
import yaml

from segframe.errors import SegframeError
from segframe.settings import check_settings

CONF = Path(__file__).parents[1] / "conf"


@pytest.fixture
def config():
    own = {
        name: yaml.safe_load((CONF / name / "default.yaml").read_text())
        for name in ("split", "train", "device")
    }
    own["patch"] = yaml.safe_load((CONF / "patch/none.yaml").read_text())
    plugged = {name: {"name": "x"} for name in ("dataset", "model", "loss", "optimizer", "tracker")}
    sweep = {"preflight": "auto", "resume": False, "retry_failed": False, "trial": None}
    top = {"seed": 0, "runs_dir": "runs", "run_dir": None, "augment": {}, "metrics": {}, "sweep": sweep}
    return {**top, **own, **plugged}


def test_the_defaults_are_valid(config):
    check_settings(copy.deepcopy(config))


@pytest.mark.parametrize(
    "path, value, message",
    [
        ("train.epochs", 0, r"train.epochs: expected greater than or equal to 1, got 0"),
        ("train.epochs", "3", r"train.epochs: expected a valid integer, got '3'"),
        (
            "train.precision",
            "float8",
            r"train.precision: expected 'float32', 'bfloat16' or 'float16', got",
        ),
        ("train.xla", "maybe", r"train.xla: expected .*'auto', got 'maybe'"),
        (
            "train.score_test_at",
            [5, 90],
            r"train.score_test_at: expected epochs up to .*=20, got \[90\]",
        ),
        ("train.score_test_at", [0], r"train.score_test_at.0: expected greater than or equal to 1"),
        ("train.epoch", 3, r"train.epoch: expected one of the keys .*Did you mean 'epochs'"),
        ("split.val_fraction", 1.0, r"split.val_fraction: expected less than 1"),
        ("split.train_fraction", 0.0, r"split.train_fraction: expected greater than 0, got 0"),
        ("split.train_fraction", 1.1, r"split.train_fraction: expected less than or equal to 1, got 1.1"),
        ("train.determinism", True, r"train.determinism: expected 'auto' or 'strict', got True"),
        ("split.val", "some", r"split.val: expected 'auto' or 'none', got 'some'"),
        ("split.folds", 1, r"split.folds: expected greater than or equal to 2, got 1"),
        ("split.fold", 0, r"split.fold: expected null without split.folds, got 0"),
        ("split.fold_splits", ["all"], r"split.fold_splits.0: expected 'train', 'val' or 'test', got 'all'"),
        ("patch.size", [64], r"patch.size: expected .*, got \[64\]"),
        ("patch.size", [64, 64, 3], r"patch.size: expected .*, got \[64, 64, 3\]"),
        ("patch.size", [64, 0], r"patch.size.1: expected greater than or equal to 1, got 0"),
        ("patch.size", "64", r"patch.size: expected .*, got '64'"),
        ("patch.per_image", 0, r"patch.per_image: expected greater than or equal to 1, got 0"),
        ("patch.foreground_share", 1.1, r"patch.foreground_share: expected less than or equal to 1"),
        ("patch.overlap", 0.95, r"patch.overlap: expected less than or equal to 0.9, got 0.95"),
        ("patch.sizes", [64, 64], r"patch.sizes: expected .*Did you mean 'size'"),
        ("device.threads", 0, r"device.threads: expected"),
        ("device.gpu_memory_share", 0, r"device.gpu_memory_share: expected greater than 0, got 0"),
        ("sweep.preflight", "maybe", r"sweep.preflight: expected .*'auto' or 'only', got 'maybe'"),
        ("sweep.resume", 1, "sweep.resume: expected a valid boolean, got 1"),
        ("sweep.trial", {"study": "a"}, r"sweep.trial\.storage: expected"),
        ("seed", -1, r"seed: expected greater than or equal to 0, got -1"),
        ("modell", {}, r"modell: expected a key of conf/config.yaml, got 'modell'.\n  Did you mean 'model'"),
        ("model", None, r"model: expected a section with a name, got None"),
    ],
)
def test_a_wrong_value_is_refused_by_path(config, path, value, message):
    node, (*parents, key) = config, path.split(".")
    for parent in parents:
        node = node[parent]
    node[key] = value
    with pytest.raises(SegframeError, match="(?s)" + message):
        check_settings(config)


def test_a_missing_key_is_refused(config):
    del config["train"]["epochs"]
    with pytest.raises(SegframeError, match="train.epochs: expected .*, got none"):
        check_settings(config)


def test_early_stopping_needs_a_validation_split(config):
    config["split"]["val"] = "none"
    config["train"]["early_stopping_epochs"] = 3
    with pytest.raises(SegframeError, match="train.early_stopping_epochs: expected null with split.val=none"):
        check_settings(config)
