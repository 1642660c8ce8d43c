"""segframe.runtime: seed, precision, threads and XLA as the config says."""

import logging
import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from segframe.record import Record
from segframe.runtime import set_up, xla_of_auto


@pytest.fixture(autouse=True)
def float32_again():
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def record(tmp_path):
    made = Record(tmp_path)
    made.write("record.json", {"identity": "mine"})
    return made


@pytest.fixture
def running():
    """Threads that TensorFlow runs with in this process: they cannot be changed any more."""
    tf.constant(1.0) + 1.0
    return tf.config.threading.get_intra_op_parallelism_threads()


def config(*, threads=None, xla=False, precision="float32", seed=0):
    train = {"precision": precision, "determinism": "auto", "xla": xla}
    return {"device": {"threads": threads, "gpu_memory_share": None}, "seed": seed, "train": train}


def draws(seed, record):
    set_up(config(seed=seed), record)
    initial = keras.initializers.GlorotUniform()((3, 5))
    return np.concatenate([tf.random.normal((4,)).numpy(), np.asarray(initial).ravel(), np.random.rand(3)])


def test_the_seed_fixes_every_random_number(record):
    np.testing.assert_array_equal(draws(7, record), draws(7, record))
    assert not np.allclose(draws(7, record), draws(8, record))


@pytest.mark.parametrize(
    "precision, compute",
    [("float32", "float32"), ("bfloat16", "bfloat16"), ("float16", "float16")],
)
def test_precision_is_kerass_policy_with_weights_in_float32(record, precision, compute):
    set_up(config(precision=precision), record)
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    assert (layer.compute_dtype, layer.variable_dtype) == (compute, "float32")
    set_up(config(), record)
    assert keras.config.dtype_policy().name == "float32"


def test_xla_by_default_is_for_gpus_but_not_with_strict_determinism():
    # On an H100 XLA refused a U-Net then: "GPU MaxPool gradient ops do not yet have a deterministic XLA
    # implementation".
    assert xla_of_auto(gpu=True, strict=False)[0]
    assert not xla_of_auto(gpu=True, strict=True)[0] and "strict" in xla_of_auto(gpu=True, strict=True)[1]
    assert not xla_of_auto(gpu=False, strict=False)[0]


def test_xla_is_what_was_asked_for_and_auto_is_said(record, caplog):
    caplog.set_level(logging.INFO, "segframe")
    assert set_up(config(xla=True), record) is True
    assert set_up(config(xla=False), record) is False
    assert not caplog.records or "auto" not in caplog.text
    gpu = bool(tf.config.list_physical_devices("GPU"))
    assert set_up(config(xla="auto"), record) is gpu
    assert f"train.xla=auto: {'on' if gpu else 'off'}" in caplog.text


def test_the_threads_of_the_first_time_are_kept_and_others_are_said(record, running, caplog):
    set_up(config(), record)
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert record.read("record.json") == {"identity": "mine", "threads": allowed}
    caplog.clear()
    set_up(config(threads=allowed + 3), record)
    assert f"device.threads={allowed + 3}, but this run began with {allowed}" in caplog.text
    assert record.read("record.json")["threads"] == allowed + 3


def test_threads_that_cannot_be_had_in_this_process_are_said(record, running, caplog):
    set_up(config(threads=running + 5), record)
    assert f"runs with {running} threads already in this process, not with {running + 5}" in caplog.text
