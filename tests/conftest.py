"""What several tests need: real data if it is there, small HDF5 files, a cache folder of their own."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def data_folder():
    """The folder of real data sets, or a skip."""
    folder = Path(os.environ.get("SEGFRAME_DATA", ROOT / "../shared/data")).resolve()
    if not (folder / "cars.h5").exists():
        pytest.skip(f"no data sets in {folder}: set SEGFRAME_DATA")
    return folder


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """An empty cache folder for this test."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SEGFRAME_CACHE", str(folder))
    return folder


@pytest.fixture
def hdf5_file(tmp_path):
    """Writes a good HDF5 data set, then lets `change(file)` spoil it; returns its path."""

    def write(change=None, name="data.h5", **options):
        path = tmp_path / name
        with h5py.File(path, "w") as file:
            fill(file, **options)
            if change:
                change(file)
        return path

    return write


def fill(file, splits=None, size=(13, 21), channels=1, dtype=np.uint8, num_classes=2, seed=0):
    rng = np.random.default_rng(seed)
    file.attrs["class_names"] = ["background", *(f"class {index}" for index in range(1, num_classes))]
    file.attrs["num_classes"] = num_classes
    for split, samples in (splits or {"train": 3, "test": 2}).items():
        images = rng.integers(256, size=(samples, *size, channels)).astype(dtype)
        masks = rng.integers(num_classes, size=(samples, *size), dtype=np.uint8)
        file.create_dataset(f"{split}/images", data=images)
        file.create_dataset(f"{split}/masks", data=masks)
        file[f"{split}/ids"] = [f"{split} {index}" for index in range(samples)]
