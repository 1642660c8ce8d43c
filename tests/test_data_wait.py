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
    read, disk = dataset.read_stacked, threading.Lock()

    def late(split, indices, empty):
        with disk:
            time.sleep(seconds * len(indices) if split == "train" else 0)
        return read(split, indices, empty)

    dataset.read_stacked = late
    return dataset


@pytest.mark.slow
def test_a_run_that_waits_for_data_says_so_once(plugins, config, squares, caplog):
    plugins.register(SlowSet())
    # More than what is read ahead while the graphs of training and validation are made.
    made = config("train.epochs=8", "train.batch_size=1", "train.norm_statistics=running")
    slow = {"name": "slow", "path": str(squares), "seconds": 1.0}
    result = run_experiment(plugins, made | {"dataset": slow})
    assert result.epoch
    said = [line.getMessage() for line in caplog.records if "waits for data" in line.getMessage()]
    assert len(said) == 1 and "docs/pipeline.md" in said[0]
