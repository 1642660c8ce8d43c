"""Memory that ran out is said in a line, by a run and by a job alike."""

import functools
from pathlib import Path

import pytest
import tensorflow as tf

from segframe import train_command
from segframe.__main__ import main
from segframe.out_of_memory import out_of_memory


@functools.cache  # TensorFlow waits for ten seconds whether memory becomes free
def too_large(graph):
    """TensorFlow's own error: 4 TiB, which no constant folding makes before."""

    def fill(count):
        with tf.device("CPU"):
            return tf.fill([count, 1 << 20], 1.0)

    call = tf.function(fill).get_concrete_function(tf.TensorSpec((), tf.int32)) if graph else fill
    with pytest.raises(tf.errors.ResourceExhaustedError) as caught:
        call(tf.constant(1 << 20))
    return caught.value


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
def test_tensorflows_own_error_is_told_in_a_line_with_what_was_too_large(graph):
    said = out_of_memory(too_large(graph))
    assert said.startswith("out of memory (ResourceExhaustedError: ") and "\n" not in said
    assert "1048576,1048576" in said


def test_what_else_means_that_memory_ran_out():
    assert out_of_memory(MemoryError()) == "out of memory (MemoryError)"
    full = tf.errors.InternalError(None, None, "x\ncudaSetDevice() on GPU:0 failed. Status: out of memory")
    assert "cudaSetDevice()" in out_of_memory(full)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("out of memory"), tf.errors.InternalError(None, None, "cuDNN failed"), KeyError("x")],
)
def test_other_errors_are_none_of_its_business(error):
    assert out_of_memory(error) is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_a_full_disk_is_no_memory():
    with pytest.raises(tf.errors.ResourceExhaustedError) as caught:
        tf.io.write_file("/dev/full", "x" * 100_000)
    assert out_of_memory(caught.value) is None


@pytest.mark.parametrize("words, remedy", [(["model=unet"], True), (["compare", "x"], False)])
@pytest.mark.parametrize("debug", [False, True])
def test_it_is_said_and_the_traceback_shown_when_asked(words, remedy, debug, monkeypatch, capsys):
    error = too_large(True).with_traceback(None)

    def fails(*words):
        raise error

    monkeypatch.setattr(train_command, "train", fails)
    monkeypatch.setattr("segframe.__main__._verb", fails)
    assert main([*words, *(["--debug"] if debug else [])]) == 1
    said = capsys.readouterr().err
    assert said.count("Error: out of memory (ResourceExhaustedError: ") == 1
    assert ("A smaller train.batch_size" in said) is remedy
    assert ("Traceback" in said) is debug
