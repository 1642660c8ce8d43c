"""A run whose network waits for data says so, once."""

import threading
import time

import pytest

from segframe import hookimpl
from segframe.experiment import run_experiment
from segframe.plugins.hdf5 import open_hdf5


class SlowSet:
    """A plugin with a data set whose training samples take their time."""

    @hookimpl
    def segframe_datasets(self):
        return {"slow": build_slow}


def build_slow(*, path: str, seconds: float = 0.0):
    """An HDF5 file read as from a slow disk."""
    dataset = open_hdf5(path=path)
    read, disk = dataset._stored, threading.Lock()

    def late(split, index, kind, out=None):
        with disk:
            time.sleep(seconds if split == "train" and kind == "images" else 0)
        return read(split, index, kind, out)

    assert dataset.content_hash, "every sample is read for it once"
    dataset._stored = late
    return dataset


@pytest.mark.slow
def test_a_run_that_waits_for_data_says_so_once(plugins, config, squares, caplog):
    plugins.register(SlowSet())
    made = config("train.epochs=3", "train.batch_size=1")
    slow = {"name": "slow", "path": str(squares), "seconds": 0.8}
    result = run_experiment(plugins, made | {"dataset": slow})
    assert result.epoch
    said = [line.getMessage() for line in caplog.records if "waits for data" in line.getMessage()]
    assert len(said) == 1 and "docs/pipeline.md" in said[0]
