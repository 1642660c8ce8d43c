"""segframe.plugins.no_tracker: nothing is kept, nothing is hidden."""

import pytest

from segframe.plugins.no_tracker import build_none


def test_it_leaves_no_file_and_names_no_command(tmp_path):
    tracker = build_none()
    with tracker.run(tmp_path / "run", "name", tracker.open_sweep("sweep", {})) as run:
        run.params({"seed": 0})
        run.epochs({1: {"train/loss": 1.0}})
        run.model(tmp_path, tmp_path / "model.weights.h5")
    tracker.close_run(tmp_path / "run", "FAILED", "")
    assert tracker.where() == ""
    assert not list(tmp_path.iterdir())


def test_it_lets_the_error_of_a_run_through(tmp_path):
    with pytest.raises(ValueError, match="mine"), build_none().run(tmp_path, "name"):
        raise ValueError("mine")
