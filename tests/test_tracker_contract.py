"""What segframe.tracker promises, checked for every tracker that is installed."""

import math

import pytest

from segframe.catalog import build, catalog
from segframe.manager import plugin_manager

# What config files fill in from elsewhere, so that no builder has a default for it.
FROM_CONFIG = {"mlflow": {"uri": "sqlite:///{runs_dir}/mlflow.db"}}


@pytest.fixture(scope="module")
def plugins():
    return plugin_manager()


@pytest.fixture(params=sorted(catalog(plugin_manager(), "tracker")))
def tracker(request, plugins, tmp_path):
    given = {key: text.format(runs_dir=tmp_path) for key, text in FROM_CONFIG.get(request.param, {}).items()}
    return build(plugins, "tracker", {"name": request.param, **given})


def test_a_whole_sweep_can_be_told_twice(tracker, tmp_path):
    (tmp_path / "figure.png").write_bytes(b"\x89PNG")
    sweep = tracker.open_sweep("sweep", {"segframe.command": "-m seed=0,1"})
    for _ in range(2):
        with tracker.run(tmp_path / "run", "seed=0", sweep) as run:
            run.params({"seed": 0, "model.filters": None, "augment": "[]"})
            run.tags({"segframe.version": "0"})
            run.epochs({1: {"train/loss": 1.0, "val/dice": math.nan}})
            run.epochs({1: {"train/loss": 1.0}, 2: {"train/loss": math.inf}})
            run.final({"final/test/dice": 0.5, "final/test/dice/cell wall (outer)": 0.25})
            run.file(tmp_path / "figure.png", "figures")
    tracker.close_sweep(sweep, "FINISHED", {"val/dice": 0.5})
    again = tracker.open_sweep("sweep", {"segframe.command": "-m seed=0,1"}, sweep)
    assert again == sweep
    tracker.tag_sweep(again, {"best.seed": "0"})
    tracker.close_sweep(again, "FAILED", {})


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_what_ends_a_run_goes_on_to_its_caller(tracker, tmp_path, error):
    with pytest.raises(error), tracker.run(tmp_path / "run", "name"):
        raise error
    tracker.close_run(tmp_path / "run", "FAILED", "died")
    tracker.close_run(tmp_path / "no such run", "FAILED", "died")


def test_where_is_one_line_and_needs_no_store(tracker, tmp_path):
    assert "\n" not in tracker.where()
    assert not list(tmp_path.iterdir())
