"""What segframe_datasets promises, checked for every data set that is installed."""

import inspect

import numpy as np
import pytest

from segframe.catalog import build, catalog
from segframe.dataset import IGNORED
from segframe.manager import plugin_manager

SMALLER = {"samples_train": 3, "samples_val": 2, "samples_test": 2, "size": 24}
"""Values for arguments of these names, so that the data sets that are made are made quickly."""

PLUGINS = plugin_manager()
BUILDERS = catalog(PLUGINS, "dataset")


@pytest.fixture(params=sorted(BUILDERS))
def dataset(request, hdf5_file, own_cache):
    takes = inspect.signature(BUILDERS[request.param]).parameters
    section = {key: value for key, value in SMALLER.items() if key in takes}
    if "path" in takes:
        section["path"] = str(hdf5_file(splits={"train": 3, "val": 2, "test": 2}, num_classes=3))
    missing = [key for key, value in takes.items() if value.default is value.empty and key not in section]
    if missing:
        pytest.skip(f"needs {missing}")
    return build(PLUGINS, "dataset", {"name": request.param, **section})


def test_facts_fit_each_other(dataset):
    assert "train" in dataset.splits and set(dataset.splits) <= {"train", "val", "test"}
    assert len(dataset.class_names) == dataset.num_classes >= 2
    assert dataset.ignore_index == IGNORED
    assert len(dataset.image_shape) == 3
    assert dataset.spacing is None or (len(dataset.spacing) == 2 and min(dataset.spacing) > 0)


def test_ids_are_unique_and_groups_stay_in_a_split(dataset):
    ids = [name for split in dataset.splits for name in dataset.ids(split)]
    assert len(set(ids)) == len(ids) and all(isinstance(name, str) for name in ids)
    groups = [set(dataset.groups(split)) for split in dataset.splits]
    assert sum(map(len, groups)) == len(set().union(*groups))
    assert all(len(dataset.groups(split)) == len(dataset.ids(split)) > 0 for split in dataset.splits)


def test_samples_have_the_axes_and_types_of_the_contract(dataset):
    height, width, channels = dataset.image_shape
    for split in dataset.splits:
        for image, mask in dataset.read(split, range(len(dataset.ids(split)))):
            assert image.dtype in (np.uint8, np.float32) and mask.dtype == np.uint8
            assert image.shape == (*mask.shape, channels)
            assert mask.shape[0] <= height and mask.shape[1] <= width
            assert ((mask < dataset.num_classes) | (mask == IGNORED)).all()


def test_reading_keeps_the_order_asked_for(dataset):
    forward, backward = dataset.read("train", [0, 1]), dataset.read("train", [1, 0])
    for left, right in zip(forward, reversed(backward), strict=True):
        np.testing.assert_array_equal(left.image, right.image)
        np.testing.assert_array_equal(left.mask, right.mask)
    assert dataset.read("train", []) == []


def test_the_content_hash_is_a_sha256_and_stays(dataset):
    assert len(bytes.fromhex(dataset.content_hash)) == 32
    assert dataset.content_hash == dataset.content_hash
