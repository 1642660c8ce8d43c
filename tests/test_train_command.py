"""segframe.train_command: from Hydra's config to plain dicts, and a broken plugin said."""

import sys

import pytest
from omegaconf import OmegaConf

from segframe import SegframeError
from segframe.manager import BrokenPlugin, plugin_manager
from segframe.train_command import plain, train, warn_of_broken


def test_hydras_part_is_left_out_and_the_rest_is_plain_and_resolved():
    config = OmegaConf.create(
        {
            "hydra": {"mode": "???", "job": {"id": "${oc.env:NOT_THERE}"}},
            "runs_dir": "my runs",
            "seed": 3,
            "tracker": {"uri": "sqlite:///${runs_dir}/mlflow.db", "rates": [1, "${seed}"]},
            "twice": "${seed}",
            "nothing": None,
            "empty": {},
        }
    )
    found = plain(config)
    assert found == {
        "runs_dir": "my runs", "seed": 3, "twice": 3, "nothing": None, "empty": {},
        "tracker": {"uri": "sqlite:///my runs/mlflow.db", "rates": [1, 3]},
    }  # fmt: skip
    assert type(found["tracker"]) is dict and type(found["tracker"]["rates"]) is list


@pytest.mark.parametrize(
    "config, message",
    [
        (
            {"dataset": {"path": "???"}},
            r"dataset\.path: expected a value, got none.\n  Give dataset\.path=\.\.\.",
        ),
        ({"path": "???"}, r"path: expected a value, got none"),
        ({"tracker": {"uri": "${runs_dri}/x"}}, "runs_dri"),
    ],
    ids=["in a section", "at the top", "interpolation"],
)
def test_a_value_that_is_missing_is_an_error_of_ours(config, message):
    with pytest.raises(SegframeError, match=message):
        plain(OmegaConf.create(config))


def test_the_process_is_as_before_after_a_config_that_does_not_compose(monkeypatch):
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    before = list(sys.argv)
    with pytest.raises(SegframeError, match="'learning_rate'"):
        train(["optimizer.learning_rat=1"])
    import os

    assert sys.argv == before and "HYDRA_FULL_ERROR" not in os.environ


def test_a_plugin_that_is_left_out_is_said(caplog):
    plugins = plugin_manager(installed=False)
    plugins.broken.append(BrokenPlugin("far", "far-nets 1", "ImportError: no"))
    warn_of_broken(plugins)
    assert caplog.messages == ["Plugin 'far' of far-nets 1 is left out: ImportError: no"]
