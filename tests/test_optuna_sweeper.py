"""hydra/sweeper=optuna: what is wrong with a search is said before anything is imported or written."""

import subprocess
import sys

import pytest

from segframe.__main__ import main

SPACE = "optimizer.learning_rate=tag(log, interval(1e-5,1e-1))"


@pytest.mark.parametrize(
    "words, message",
    [
        (["optimizer.learning_rate=interval(2,1)"], "optimizer.learning_rate: expected an interval from"),
        (["optimizer.learning_rat=interval(1,2)"], "Did you mean 'learning_rate'"),
        ([SPACE, "optimizer=adam,sdg"], "optimizer=sdg: expected an option of optimizer"),
        ([SPACE, "train.epochs=int(interval(0,9))"], "train.epochs: expected greater than or equal to 1"),
        ([SPACE, "train.epochs=interval(1,9)"], "train.epochs: expected a valid integer, got 1.0"),
        ([SPACE, "optimizer.learning_rate=1e-3"], "expected a key to search over, got fixed values only"),
        ([SPACE, "hydra.sweeper.n_trails=3"], "Did you mean 'n_trials'"),
        ([SPACE, "hydra.sweeper.sampler=grid"], "expected single values with hydra.sweeper.sampler=grid"),
        ([SPACE, "split.val=none"], "split.val: expected a validation part"),
    ],
)
def test_a_wrong_search_is_refused_and_leaves_nothing(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["-m", "hydra/sweeper=optuna", "dataset.size=32", "tracker=none", *words]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.db")) and not list(tmp_path.rglob("*.json"))


def test_a_value_that_a_builder_refuses_is_found_before_the_first_trial(tmp_path):
    """In a process of its own, as on the command line: where TensorFlow is there already, building tells."""
    words = ["-m", "hydra/sweeper=optuna", "tracker=none", "optimizer.clip_norm=interval(-2,1)"]
    done = subprocess.run(
        [sys.executable, "-m", "segframe", *words], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2 and "optimizer.clip_norm: expected" in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())


def test_without_optuna_the_package_is_named_and_nothing_heavy_was_imported(tmp_path):
    code = (
        "import sys; sys.modules['optuna'] = None  # as if it were not installed\n"
        "from segframe.__main__ import main\n"
        f"code = main(['-m', 'hydra/sweeper=optuna', {SPACE!r}])\n"
        "heavy = {'tensorflow', 'keras', 'mlflow', 'sqlalchemy'} & set(sys.modules)\n"
        "sys.exit(code if not heavy else 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "expected the package optuna, got none installed" in done.stderr
    assert "pip install 'optuna>=5,<6' cmaes" in done.stderr
    assert not list(tmp_path.iterdir())
