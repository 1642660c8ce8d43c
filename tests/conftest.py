"""What several tests need: real data if it is there, small HDF5 files, a cache folder of their own."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from segframe import hookimpl
from segframe.manager import plugin_manager

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
def installed(tmp_path):
    """Writes a plugin of one module, as pip would install it; returns its folder, for PYTHONPATH."""

    def install(name, source):
        info = tmp_path / "path" / f"{name}-1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[segframe]\n{name} = {name}\n")
        (info.parent / f"{name}.py").write_text(source)
        return info.parent

    return install


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """An SQLite file with MLflow's tables: making them takes three seconds."""
    import sqlite3

    from segframe.plugins.mlflow_tracker import build_mlflow

    folder = tmp_path_factory.mktemp("store")
    build_mlflow(uri=f"sqlite:///{folder}/mlflow.db")._connect()
    with sqlite3.connect(folder / "mlflow.db") as connection:
        connection.execute("DELETE FROM experiments WHERE name = 'segframe'")
        connection.execute("DELETE FROM experiment_tags")
    connection.close()
    return folder / "mlflow.db"


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


class TinyNet:
    """A plugin with a network of two convolutions and dropout, so the core's tests need no other."""

    @hookimpl
    def segframe_models(self):
        return {"tiny": build_tiny}


def build_tiny(*, image_shape, num_classes: int, filters: int = 4, dropout: float = 0.2):
    """Pools once, so its size multiple is 2."""
    import keras

    layers = keras.layers
    image = keras.Input((None, None, image_shape[2]))
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(image)
    x = layers.Dropout(dropout)(layers.ReLU()(layers.BatchNormalization()(x)))
    x = layers.UpSampling2D()(layers.MaxPooling2D()(x))
    model = keras.Model(image, layers.Conv2D(num_classes, 3, padding="same", dtype="float32")(x))
    model.size_multiple = 2
    return model


@pytest.fixture
def plugins():
    """A fresh manager with the tiny network."""
    found = plugin_manager()
    found.register(TinyNet(), name="tiny")
    return found


class Oracle:
    """Keeps what a run itself predicts for its test images."""

    @hookimpl(wrapper=True)
    def segframe_fit(self, run):
        result = yield
        self.ids = run.metrics.predict("test", range(len(run.pipeline.parts["test"].ids)))
        return result


@pytest.fixture
def oracle(plugins):
    """Its `ids`, once a run of `plugins` is done."""
    found = Oracle()
    plugins.register(found)
    return found


@pytest.fixture
def squares(tmp_path):
    """A data set that can be learned in a few steps: bright squares on noise, with val and test splits."""
    path = tmp_path / "squares.h5"
    random = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file.attrs["class_names"] = ["background", "square"]
        for split, samples in {"train": 6, "val": 3, "test": 3}.items():
            masks = np.zeros((samples, 17, 23), np.uint8)
            for mask in masks:
                row, column = random.integers(0, 9, 2)
                mask[row : row + 7, column : column + 9] = 1
            noise = random.normal(60, 20, masks.shape) + 100 * masks
            file[f"{split}/images"] = np.clip(noise, 0, 255).astype(np.uint8)[..., None]
            file[f"{split}/masks"] = masks
            file[f"{split}/ids"] = [f"{split}-{number}" for number in range(samples)]
    return path


@pytest.fixture
def small_cars(tmp_path):
    """cars.h5 of colour images with a bright square; no val split, as the sets of experiments have none."""
    path, random = tmp_path / "cars.h5", np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file.attrs["class_names"] = ["background", "square"]
        for split, samples in {"train": 4, "test": 2}.items():
            masks = np.zeros((samples, 24, 40), np.uint8)
            masks[:, 5:17, 9:30] = 1
            noise = random.integers(80, size=(*masks.shape, 3))
            file[f"{split}/images"] = (noise + 120 * masks[..., None]).astype(np.uint8)
            file[f"{split}/masks"] = masks
            file[f"{split}/ids"] = [f"{split}-{number}" for number in range(samples)]
    return path


@pytest.fixture
def config(squares, tmp_path):
    """Makes a small run's config from overrides; without a tracker unless asked for."""
    from hydra import compose, initialize_config_module

    from segframe.compose import register
    from segframe.train_command import plain

    def make(*words):
        register()
        fixed = ["dataset=hdf5", f"dataset.path='{squares}'", "tracker=none", "train.epochs=3",
                 "train.batch_size=2", f"runs_dir='{tmp_path}/runs'"]  # fmt: skip
        with initialize_config_module("segframe.conf", version_base="1.3"):
            found = plain(compose("config", [*fixed, *words]))
        return found | {"model": {"name": "tiny", "filters": 4, "dropout": 0.2}}

    return make


@pytest.fixture(scope="session")
def unet_run(tmp_path_factory):
    """A run's folder with a network that was not trained: for 1 or 3 channels, of 8 bits or floats."""
    import keras

    from segframe.catalog import build
    from segframe.export import save_weights
    from segframe.normalisation import Normalisation

    made = {}

    def make(channels=3, scale=1 / 255):
        if (channels, scale) not in made:
            keras.utils.set_random_seed(5)
            section = {"name": "unet", "filters": 2, "depth": 1}
            shape = (32, 40, channels)
            model = build(plugin_manager(), "model", section, image_shape=shape, num_classes=3)
            folder = tmp_path_factory.mktemp("run")
            facts = {
                "config": {
                    "model": section,
                    "train": {"precision": "float32", "batch_size": 2},
                    "metrics": {},
                },
                "normalisation": Normalisation(scale, (0.5,) * channels, (0.3,) * channels).as_json(),
                "class_names": ["background", "cell", "edge"],
                "image_shape": shape,
                "versions": {},
                "xla": False,
            }
            save_weights(folder / "model.weights.h5", model, facts)
            made[channels, scale] = folder
        return made[channels, scale]

    return make
