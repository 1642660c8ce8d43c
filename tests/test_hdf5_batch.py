"""Samples of an HDF5 file read as a batch."""

import gc
import os
import struct

import h5py
import numpy as np
import pytest

from segframe import SegframeError
from segframe.buffers import Buffers
from segframe.plugins import hdf5_dataset
from segframe.plugins.hdf5 import open_hdf5
from segframe.plugins.hdf5_batch import read_each
from segframe.plugins.hdf5_codecs import undone_here
from segframe.plugins.hdf5_raw import raw_file
from segframe.plugins.hdf5_stored import StoredArray

STORED = {
    "contiguous": {},
    "a chunk each": {"chunks": (1, 9, 7, 3)},
    "gzip": {"chunks": (1, 9, 7, 3), "compression": "gzip"},
    "gzip shuffled": {"chunks": (1, 9, 7, 3), "compression": "gzip", "shuffle": True},
    "shuffled alone": {"chunks": (1, 9, 7, 3), "shuffle": True},
    "lzf": {"chunks": (1, 9, 7, 3), "compression": "lzf"},
}


def array_of(path, values, **stored):
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=values, **stored)
    file = h5py.File(path)
    return StoredArray(file["images"], 1, raw_file(file))


@pytest.mark.parametrize("dtype", ["u1", "<f4"])
@pytest.mark.parametrize("stored", STORED)
def test_samples_are_those_of_the_array_in_any_order_and_again(stored, dtype, tmp_path):
    values = np.random.default_rng(0).integers(9, size=(20, 9, 7, 3)).astype(dtype)
    array = array_of(tmp_path / "data.h5", values, **STORED[stored])
    if not undone_here(array.filters):
        pytest.skip("without imagecodecs HDF5 reads them")
    assert array.each_apart
    for indices in ([5], [19, 0, 7, 7, 3], range(20)):
        out = np.full((len(indices), 9, 7, 3), 77, dtype)
        read_each(array, indices, out, np.empty)
        np.testing.assert_array_equal(out, values[list(indices)])


def test_what_was_shuffled_after_it_was_packed_is_left_to_hdf5(tmp_path):
    values = np.random.default_rng(0).integers(9, size=(4, 9, 7, 3)).astype(np.float32)
    create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    create.set_chunk((1, 9, 7, 3))
    create.set_deflate(4)
    create.set_shuffle()
    with h5py.File(tmp_path / "data.h5", "w") as file:
        space = h5py.h5s.create_simple(values.shape)
        h5py.h5d.create(file.id, b"images", h5py.h5t.IEEE_F32LE, space, create)
        file["images"][:] = values
    file = h5py.File(tmp_path / "data.h5")
    array = StoredArray(file["images"], 1, raw_file(file))
    assert array.filters == (1, 2) and not undone_here(array.filters) and not array.each_apart
    np.testing.assert_array_equal(array.read(0, 4), values)


def test_chunks_that_a_filter_left_out_stand_among_others(tmp_path):
    values = np.random.default_rng(0).integers(9, size=(6, 9, 7, 3)).astype(np.uint8)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        there = file.create_dataset("images", data=values, chunks=(1, 9, 7, 3), compression="gzip")
        there.id.write_direct_chunk((2, 0, 0, 0), values[2].tobytes(), filter_mask=1)
    file = h5py.File(tmp_path / "data.h5")
    array, out = StoredArray(file["images"], 1, raw_file(file)), np.zeros_like(values[:3])
    read_each(array, [1, 2, 3], out, np.empty)
    np.testing.assert_array_equal(out, values[1:4])


@pytest.mark.filterwarnings("error")
def test_the_bytes_are_let_go_of_without_a_word_when_the_last_array_is(tmp_path):
    values = np.zeros((6, 9, 7, 3), np.uint8)
    array = array_of(tmp_path / "data.h5", values, chunks=(1, 9, 7, 3))
    descriptor = array.raw.fileno()
    os.fstat(descriptor)
    del array
    gc.collect()
    with pytest.raises(OSError):
        os.fstat(descriptor)


@pytest.mark.parametrize("chunks", [(2, 9, 7, 3), (1, 9, 4, 3), (1, 9, 7, 1)], ids=str)
def test_samples_that_share_a_chunk_or_have_several_are_not_for_it(chunks, tmp_path):
    values = np.zeros((6, 9, 7, 3), np.uint8)
    assert not array_of(tmp_path / "data.h5", values, chunks=chunks).each_apart


def test_memory_for_packed_bytes_is_used_again(tmp_path):
    """Batches pack to different sizes."""
    values = np.random.default_rng(0).integers(256, size=(32, 64, 64, 3), dtype=np.uint8)
    for number, image in enumerate(values):
        image[number:] = 0
    array = array_of(tmp_path / "data.h5", values, chunks=(1, 64, 64, 3), compression="gzip")
    buffers, asked, where = Buffers(8), set(), set()

    def empty(shape, dtype):
        found = buffers.take(shape, dtype)
        asked.add(shape)
        where.add(found.ctypes.data)
        return found

    for start in reversed(range(8, 25)):  # what is packed grows with the number
        out = np.empty((8, 64, 64, 3), np.uint8)
        read_each(array, range(start, start + 8), out, empty)
        np.testing.assert_array_equal(out, values[start : start + 8])
    assert len(asked) > 10 and len(where) <= 3


def test_without_filters_no_memory_is_asked_for(tmp_path):
    values = np.random.default_rng(0).integers(9, size=(6, 9, 7, 3)).astype(np.uint8)
    out = np.empty_like(values)
    read_each(array_of(tmp_path / "data.h5", values, chunks=(1, 9, 7, 3)), range(6), out, None)
    np.testing.assert_array_equal(out, values)


def written(path, images, masks, **attributes):
    with h5py.File(path, "w") as file:
        file.attrs.update({"class_names": ["background", "cell"]} | attributes)
        for name, values in (("images", images), ("masks", masks)):
            file.create_dataset(
                f"train/{name}", data=values, chunks=(1, *values.shape[1:]), compression="gzip"
            )
        file["train/ids"] = [f"cell-{number}" for number in range(len(images))]
    return open_hdf5(path=str(path))


@pytest.mark.parametrize("masks", ["ids", "bool", "an id that is ignored"])
def test_a_data_set_reads_its_batches_so(masks, tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    images = random.integers(9, size=(8, 16, 16, 1)).astype(np.uint8)
    stored = random.integers(2, size=(8, 16, 16)).astype(bool if masks == "bool" else np.uint8)
    stored[3, :4] = stored[3, :4] if masks != "an id that is ignored" else 255
    options = {"ignore_index": 255} if masks == "an id that is ignored" else {}
    dataset, calls = written(tmp_path / "data.h5", images, stored, **options), []

    def noted(array, *rest):
        calls.append(array.name)
        read_each(array, *rest)

    monkeypatch.setattr(hdf5_dataset, "read_each", noted)
    monkeypatch.setattr(dataset, "_stored", None)
    found = dataset.read_stacked("train", [5, 3, 3], np.empty)
    assert calls == ["/train/images", "/train/masks"]
    monkeypatch.undo()
    for image, mask, sample in zip(*found, dataset.read("train", [5, 3, 3]), strict=True):
        np.testing.assert_array_equal(image, sample.image)
        np.testing.assert_array_equal(mask, sample.mask)


def test_batches_that_fail_where_samples_do_not_are_said_once(tmp_path, monkeypatch, caplog):
    images = np.random.default_rng(0).integers(9, size=(8, 16, 16, 1)).astype(np.uint8)
    dataset = written(tmp_path / "data.h5", images, np.zeros((8, 16, 16), np.uint8))

    def fails(*arguments):
        raise TypeError("no memoryview, please")

    monkeypatch.setattr(hdf5_dataset, "read_each", fails)
    for _ in range(2):
        np.testing.assert_array_equal(dataset.read_stacked("train", [5, 3], np.empty)[0], images[[5, 3]])
    assert caplog.text.count("read sample by sample, as batches failed: TypeError('no memoryview") == 1


@pytest.mark.parametrize("fault", ["spoilt", "shorter", "empty", "cut off"])
def test_a_damaged_sample_is_named_and_batches_without_it_are_read(fault, tmp_path):
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        file.attrs["class_names"] = ["background", "cell"]
        images = np.random.default_rng(0).integers(9, size=(8, 16, 16, 1)).astype(np.uint8)
        file.create_dataset("train/masks", data=np.zeros((8, 16, 16), np.uint8), chunks=(1, 16, 16))
        there = file.create_dataset("train/images", data=images, chunks=(1, 16, 16, 1), compression="gzip")
        file["train/ids"] = [f"cell-{number}" for number in range(8)]
        if fault == "shorter":
            _, packed = there.id.read_direct_chunk((4, 0, 0, 0))
            there.id.write_direct_chunk((4, 0, 0, 0), packed[:-9])
        else:
            info = there.id.get_chunk_info_by_coord((4, 0, 0, 0))
            offset, stored = info.byte_offset, info.size
    if fault != "shorter":
        content = bytearray(path.read_bytes())
        if fault == "spoilt":
            content[offset : offset + 9] = b"\xff" * 9
        if fault == "empty":  # says its place in the index
            entry = struct.pack("<II5Q", stored, 0, 4, 0, 0, 0, 0)
            assert content.count(entry) == 1
            content = content.replace(entry, struct.pack("<I", 0) + entry[4:])
        path.write_bytes(content)
    dataset = open_hdf5(path=str(path))
    if fault == "cut off":  # after it was opened
        with open(path, "r+b") as file:
            file.truncate(offset)
    with pytest.raises(SegframeError, match="sample 'cell-4'"):
        dataset.read_stacked("train", [1, 4, 2], np.empty)
    read, _ = dataset.read_stacked("train", [1, 2], np.empty)
    np.testing.assert_array_equal(read, images[[1, 2]])
