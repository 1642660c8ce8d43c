"""train.determinism=strict: what is installed works under TensorFlow's op determinism."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STRICT = """
import keras
import tensorflow as tf

def pytest_configure(config):
    keras.utils.set_random_seed(0)
    tf.config.experimental.enable_op_determinism()  # cannot be undone: hence a process of its own
"""
CONTRACTS = {
    "test_model_options_contract.py": "gradient_reaches",
    "test_loss_contract.py": "compiled_step",
    "test_augmentation_contract.py": "seed_decides",
    "test_optimizer_contract.py": "",
}


@pytest.mark.slow
@pytest.mark.bundled
@pytest.mark.parametrize("file", CONTRACTS)
def test_the_contracts_hold_under_op_determinism(file, tmp_path):
    (tmp_path / "strict_mode.py").write_text(STRICT)
    words = ["-n", "0", "-q", "-p", "strict_mode", "-p", "no:cacheprovider", "-k", CONTRACTS[file]]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, "-m", "not slow", str(ROOT / "tests" / file)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


@pytest.mark.slow
def test_an_op_without_a_deterministic_kernel_is_refused_so_that_the_contracts_tell_something():
    """On a CPU few are refused; an unseeded draw is, as it would be in an augmentation or a layer."""
    script = "\n".join(
        [
            "import tensorflow as tf",
            "tf.config.experimental.enable_op_determinism()",
            "tf.random.normal((2,))",
        ]
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1 and "determinism" in done.stderr
