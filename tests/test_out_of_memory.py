"""Memory that ran out is said in a line, by a run and by a job alike."""

import pytest
import tensorflow as tf

from segframe import train_command
from segframe.__main__ import main
from segframe.out_of_memory import out_of_memory


def too_large():
    """TensorFlow's own error: 4 TiB."""
    with pytest.raises(tf.errors.ResourceExhaustedError) as caught, tf.device("CPU"):
        tf.fill([1 << 20, 1 << 20], 1.0)
    return caught.value


def test_what_means_that_memory_ran_out():
    said = out_of_memory(too_large())
    assert said.startswith("out of memory: a smaller train.batch_size") and "ResourceExhaustedError: " in said
    assert "\n" not in said
    assert "train.batch_size" in out_of_memory(MemoryError())
    full = tf.errors.InternalError(None, None, "cudaSetDevice() on GPU:0 failed. Status: out of memory")
    assert "nvidia-smi" in out_of_memory(full)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("out of memory"), tf.errors.InternalError(None, None, "cuDNN failed"), KeyError("x")],
)
def test_other_errors_are_none_of_its_business(error):
    assert out_of_memory(error) is None


@pytest.mark.parametrize("debug", [False, True])
def test_a_run_says_it_and_shows_the_traceback_when_asked(debug, monkeypatch, capsys):
    error = too_large()

    def train(words):
        raise error

    monkeypatch.setattr(train_command, "train", train)
    assert main(["model=unet", *(["--debug"] if debug else [])]) == 1
    said = capsys.readouterr().err
    assert said.count("Error: out of memory: a smaller train.batch_size") == 1
    assert ("Traceback" in said) is debug
