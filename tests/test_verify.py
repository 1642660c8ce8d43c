"""The content hash depends on content only; faults in pixels are found before anything is trained."""

import json
import os

import h5py
import numpy as np
import pytest

from segframe.errors import SegframeError
from segframe.plugins import verify
from segframe.plugins.hdf5 import open_hdf5


@pytest.fixture(autouse=True)
def cache(own_cache):
    return own_cache


def hash_of(path):
    dataset = open_hdf5(path=str(path))
    try:
        return dataset.content_hash
    finally:
        dataset.close()


def test_storage_does_not_change_the_hash_but_content_does(hdf5_file):
    def repack(file):
        for name in ("train/images", "train/masks"):
            values = file[name][()]
            del file[name]
            file.create_dataset(name, data=values, compression="gzip", chunks=(2, *values.shape[1:]))

    def pixel(file):
        file["test/images"][1, 12, 20, 0] += 1

    def mask(file):
        file["test/masks"][1, 12, 20] = 1 - file["test/masks"][1, 12, 20]

    def spacing(file):
        file.attrs["spacing"] = (1.0, 2.0)

    def named(file):
        file["train/ids"][0] = "other"

    def grouped(file):
        file["train/groups"] = ["p", "p", "q"]

    plain = hash_of(hdf5_file(name="plain.h5"))
    assert hash_of(hdf5_file(repack, name="repacked.h5")) == plain
    others = [hash_of(hdf5_file(change)) for change in (pixel, mask, spacing, named, grouped)]
    assert len({plain, *others}) == 6


def test_a_second_start_does_not_read_the_samples(hdf5_file, monkeypatch):
    path = hdf5_file()
    first = hash_of(path)
    with monkeypatch.context() as patched:
        patched.setattr(verify, "content_hash", lambda *_: pytest.fail("was checked again"))
        assert hash_of(path) == first
    with h5py.File(path, "a") as file:
        file["train/images"][0, 0, 0, 0] += 1
    assert hash_of(path) != first


@pytest.mark.parametrize("spoiled", ["", "[]", "{}", json.dumps({"key": [], "content_hash": "x"}), "\udcff"])
def test_a_spoiled_memory_is_not_believed(hdf5_file, cache, spoiled):
    path = hdf5_file()
    first = hash_of(path)
    [memory] = (cache / "verified").iterdir()
    memory.write_bytes(os.fsencode(spoiled))
    assert hash_of(path) == first


def test_a_cache_folder_that_cannot_be_made_only_costs_time(hdf5_file, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SEGFRAME_CACHE", str(tmp_path / "file" / "below"))
    assert len(hash_of(hdf5_file())) == 64
    assert "is not kept for later runs" in caplog.text


def test_slow_checks_say_what_is_going_on(hdf5_file, monkeypatch, caplog):
    monkeypatch.setattr(verify, "QUIET_SECONDS", -1.0)
    with caplog.at_level("INFO", "segframe"):
        hash_of(hdf5_file())
    assert caplog.text.count("checking 5 samples") == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_images_that_are_not_finite_are_refused(hdf5_file, value):
    def change(file):
        file["test/images"][1, 2, 3, 0] = value

    with pytest.raises(SegframeError, match="test sample 'test 1', image: expected finite.*got 1 values"):
        hash_of(hdf5_file(change, dtype=np.float32))


def test_ids_that_are_no_class_are_named(hdf5_file):
    def change(file):
        file["test/masks"][1, :2, 0] = [7, 9]

    with pytest.raises(
        SegframeError, match=r"(?s)'test 1', mask: expected class ids of 2.*got ids 7, 9.*remap"
    ):
        hash_of(hdf5_file(change))


def test_a_mask_of_0_and_255_gets_the_command_that_mends_it(hdf5_file, monkeypatch):
    def change(file):
        for split in ("train", "test"):
            file[f"{split}/masks"][...] = file[f"{split}/masks"][()] * 255

    path = hdf5_file(change, name="my cells.h5")
    with pytest.raises(SegframeError) as caught:
        hash_of(path)
    out = path.with_name("my cells-remapped.h5")
    assert caught.value.remedy == f"python -m segframe data remap '{path}' '{out}' --map 255=1"


def test_255_beside_other_classes_may_be_void(hdf5_file):
    def change(file):
        file["train/masks"][0, 0, 0] = 255

    with pytest.raises(SegframeError, match="--ignore 255"):
        hash_of(hdf5_file(change))


def test_a_damaged_chunk_names_its_sample(hdf5_file):
    def compress(file):
        values = file["test/images"][()]
        del file["test/images"]
        file.create_dataset("test/images", data=values, chunks=(1, 13, 21, 1), compression="gzip")

    path = hdf5_file(compress)
    with h5py.File(path) as file:
        chunk = file["test/images"].id.get_chunk_info(1)
    with open(path, "rb+") as file:
        file.seek(chunk.byte_offset)
        file.write(b"\xff" * chunk.size)
    with pytest.raises(SegframeError, match="test/images, test sample 'test 1': expected a chunk of"):
        hash_of(path)


@pytest.mark.parametrize("name, classes", [("cars", 2), ("membrane", 2), ("camvid", 11)])
def test_real_data_sets_are_in_order(data_folder, name, classes):
    dataset = open_hdf5(path=str(data_folder / f"{name}.h5"))
    assert dataset.num_classes == classes and len(dataset.content_hash) == 64
