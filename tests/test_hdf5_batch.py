"""Samples of an HDF5 file read as a batch."""

import h5py
import numpy as np
import pytest

from segframe import SegframeError
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


def test_chunks_that_a_filter_left_out_stand_among_others(tmp_path):
    values = np.random.default_rng(0).integers(9, size=(6, 9, 7, 3)).astype(np.uint8)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        there = file.create_dataset("images", data=values, chunks=(1, 9, 7, 3), compression="gzip")
        there.id.write_direct_chunk((2, 0, 0, 0), values[2].tobytes(), filter_mask=1)
    file = h5py.File(tmp_path / "data.h5")
    array, out = StoredArray(file["images"], 1, raw_file(file)), np.zeros_like(values[:3])
    read_each(array, [1, 2, 3], out, np.empty)
    np.testing.assert_array_equal(out, values[1:4])


@pytest.mark.parametrize("chunks", [(2, 9, 7, 3), (1, 9, 4, 3), (1, 9, 7, 1)], ids=str)
def test_samples_that_share_a_chunk_or_have_several_are_not_for_it(chunks, tmp_path):
    values = np.zeros((6, 9, 7, 3), np.uint8)
    assert not array_of(tmp_path / "data.h5", values, chunks=chunks).each_apart


def test_packed_bytes_share_memory_of_a_few_sizes(tmp_path):
    values = np.random.default_rng(0).integers(256, size=(30, 64, 64, 3), dtype=np.uint8)
    array, asked = array_of(tmp_path / "data.h5", values, chunks=(1, 64, 64, 3), compression="gzip"), set()

    def empty(shape, dtype):
        asked.add(shape)
        return np.empty(shape, dtype)

    for start in range(0, 24, 8):
        read_each(array, range(start, start + 8), np.empty((8, 64, 64, 3), np.uint8), empty)
    assert len(asked) == 1


@pytest.mark.parametrize("fault", ["spoilt", "longer", "missing"])
def test_a_damaged_sample_is_named_and_the_others_are_read(fault, tmp_path):
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        file.attrs["class_names"] = ["background", "cell"]
        images = np.random.default_rng(0).integers(9, size=(8, 16, 16, 1)).astype(np.uint8)
        file.create_dataset("train/masks", data=np.zeros((8, 16, 16), np.uint8), chunks=(1, 16, 16))
        there = file.create_dataset("train/images", data=images, chunks=(1, 16, 16, 1), compression="gzip")
        file["train/ids"] = [f"cell-{number}" for number in range(8)]
        if fault == "longer":
            _, packed = there.id.read_direct_chunk((4, 0, 0, 0))
            there.id.write_direct_chunk((4, 0, 0, 0), packed[:-9])
        else:
            offset = there.id.get_chunk_info_by_coord((4, 0, 0, 0)).byte_offset
    if fault != "longer":
        content = bytearray(path.read_bytes())
        if fault == "spoilt":
            content[offset : offset + 9] = b"\xff" * 9
        path.write_bytes(content)
    dataset = open_hdf5(path=str(path))
    if fault == "missing":  # cut off after it was opened
        with open(path, "r+b") as file:
            file.truncate(offset)
    with pytest.raises(SegframeError, match="sample 'cell-4'"):
        dataset.read_stacked("train", [1, 4, 2], np.empty)
    read, _ = dataset.read_stacked("train", [1, 2], np.empty)
    np.testing.assert_array_equal(read, images[[1, 2]])
