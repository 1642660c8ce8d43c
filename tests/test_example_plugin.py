"""examples/segframe-linear, installed as a stranger would: found, composed, and its values checked."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.bundled

EXAMPLE = Path(__file__).parents[1] / "examples" / "segframe-linear"


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """Runs `python -m segframe WORDS` where the example is installed."""
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("setuptools is not installed, and without a network pip cannot fetch it")
    folder = tmp_path_factory.mktemp("example")
    source = shutil.copytree(EXAMPLE, folder / "source")  # building leaves files in it
    pip = ["pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [sys.executable, "-m", *pip, "--no-index", "--target", str(folder / "site"), str(source)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    work = folder / "work"
    work.mkdir()

    def run(*words):
        return subprocess.run(
            [sys.executable, "-m", "segframe", *words], capture_output=True, text=True, cwd=work,
            env={**os.environ, "PYTHONPATH": str(folder / "site")},
        )  # fmt: skip

    return run


def test_it_is_listed_with_its_distribution(command):
    done = command("plugins")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^model +linear +segframe-linear 0\.1 +linear$", done.stdout, re.M), done.stdout


def test_its_config_composes(command):
    done = command("--cfg", "job", "model=linear", "model.kernel=11")
    assert done.returncode == 0, done.stderr
    assert "model:\n  name: linear\n  kernel: 11\n" in done.stdout


def test_its_own_check_refuses_a_wrong_value_before_a_run_is_begun(command):
    done = command("model=linear", "model.kernel=2", "dataset.size=32")
    assert done.returncode == 2
    assert "Error: model.kernel: expected an odd number, 1 or more, got 2." in done.stderr
    assert "Traceback" not in done.stderr
