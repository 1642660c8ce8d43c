"""Parts of samples: the same values as of the whole, from only the chunks that they touch."""

import h5py
import numpy as np
import pytest

from segframe import SegframeError
from segframe.catalog import build
from segframe.dataset import IGNORED, corner
from segframe.folds import Fold
from segframe.manager import plugin_manager
from segframe.patches import Cut, Patches

SIZE = (70, 90)


def write(path, chunk=(16, 32), per_sample=False, dtype="u1", **packing):
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file.attrs.update(class_names=["background", "cell", "void"], ignore_index=2)
        images = (rng.random((3, *SIZE, 2)) * 200).astype(dtype)
        masks = rng.integers(3, size=(3, *SIZE), dtype="u1")
        if per_sample:
            for number in range(3):
                for kind, values in (("images", images), ("masks", masks)):
                    inner = chunk and (*chunk, *values.shape[3:])
                    file.create_dataset(
                        f"train/{kind}/{number}", data=values[number], chunks=inner, **packing
                    )
        else:
            file.create_dataset("train/images", data=images, chunks=chunk and (1, *chunk, 1), **packing)
            file.create_dataset("train/masks", data=masks, chunks=chunk and (1, *chunk), **packing)
        file["train/ids"] = ["0", "1", "2"]
    return build(plugin_manager(), "dataset", {"name": "hdf5", "path": str(path)})


PACKINGS = [
    {},
    {"compression": "gzip"},
    {"compression": "gzip", "shuffle": True},
    {"compression": "lzf"},
    {"compression": "lzf", "shuffle": True},
    {"compression": "gzip", "fletcher32": True},
]


@pytest.mark.parametrize("packing", PACKINGS, ids=str)
@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "f4", ">f4"])
def test_a_window_is_that_of_the_whole(tmp_path, packing, per_sample, dtype):
    data = write(tmp_path / "x.h5", per_sample=per_sample, dtype=dtype, **packing)
    rng = np.random.default_rng(1)
    for index in range(3):
        assert data.windowed("train", index) == SIZE
        whole = data.read("train", [index])[0]
        for _ in range(12):
            rows, columns = (np.sort(rng.choice(size + 1, 2, replace=False)) for size in SIZE)
            window = np.s_[int(rows[0]) : int(rows[1]), int(columns[0]) : int(columns[1])]
            part = data.read_window("train", index, window)
            for found, expected in zip(part, whole, strict=True):
                np.testing.assert_array_equal(found, expected[window])
                assert found.dtype == expected.dtype
        assert set(np.unique(whole.mask)) == {0, 1, IGNORED}


def test_not_compressed_and_not_chunked_is_read_by_parts_too(tmp_path):
    data = write(tmp_path / "x.h5", chunk=None)
    assert data.windowed("train", 1) == SIZE
    window = np.s_[3:9, 80:90]
    np.testing.assert_array_equal(
        data.read_window("train", 1, window).image, data.read("train", [1])[0].image[window]
    )


@pytest.mark.parametrize("chunk", [(16, 32), SIZE], ids=["windowed", "whole"])
def test_the_corner_of_an_image_is_read_without_the_rest_where_that_can_be(tmp_path, chunk, monkeypatch):
    data = write(tmp_path / "x.h5", chunk=chunk, compression="gzip")
    whole = data.read("train", [1])[0].image
    if chunk != SIZE:
        monkeypatch.setattr(data, "read", None)
    for side in (5, 80, 1000):
        np.testing.assert_array_equal(corner(data, "train", 1, side), whole[:side, :side])


@pytest.mark.parametrize("chunk", [SIZE, (64, 90)])
def test_what_would_be_read_whole_anyway_says_so(tmp_path, chunk):
    data = write(tmp_path / "x.h5", chunk=chunk, compression="gzip")
    assert data.windowed("train", 0) is None


def test_only_the_chunks_under_it_are_touched(tmp_path):
    """The others are damaged after the file was opened, and nobody notices."""
    data = write(tmp_path / "x.h5", compression="gzip")
    window = np.s_[20:40, 33:60]  # of 16 x 32: rows 16..48, columns 32..64
    expected = data.read_window("train", 0, window)
    data.close()
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        for name, inner in (("images", (0,)), ("masks", ())):
            array = file[f"train/{name}"]
            for row in range(0, 70, 16):
                for column in range(0, 90, 32):
                    if not (row in (16, 32) and column == 32):
                        array.id.write_direct_chunk((0, row, column, *inner), b"rubbish")
    data = build(plugin_manager(), "dataset", {"name": "hdf5", "path": str(tmp_path / "x.h5")})
    found = data.read_window("train", 0, window)
    np.testing.assert_array_equal(found.mask, expected.mask)
    with pytest.raises(SegframeError, match="train/images, train sample '0': expected a chunk of"):
        data.read_window("train", 0, np.s_[0:40, 33:60])


@pytest.mark.parametrize("packing", [{"compression": "gzip"}, {"compression": "lzf"}], ids=str)
def test_a_chunk_that_holds_more_than_it_should_is_refused(tmp_path, packing):
    import zlib

    data = write(tmp_path / "x.h5", **packing)
    data.close()
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        bomb = zlib.compress(bytes(10**7)) if packing["compression"] == "gzip" else bytes(10**6)
        file["train/masks"].id.write_direct_chunk((0, 0, 0), bomb)
    data = build(plugin_manager(), "dataset", {"name": "hdf5", "path": str(tmp_path / "x.h5")})
    with pytest.raises(SegframeError, match="a chunk of 512 bytes"):
        data.read_window("train", 0, np.s_[0:4, 0:4])


def test_patches_read_by_parts_are_those_of_whole_samples(tmp_path):
    chunked, whole = write(tmp_path / "a.h5", compression="gzip"), write(tmp_path / "b.h5", chunk=SIZE)
    assert chunked.content_hash == whole.content_hash and whole.windowed("train", 0) is None
    patches = Patches(size=(20, 30), per_image=1, foreground_share=0.5, overlap=0.25, classes=(1,))
    fold = Fold(chunked, {"test": [[]], "splits": ["train"]}, 0)
    for seed in range(20):
        index, cut = seed % 3, Cut(seed % 2)
        full = whole.read("train", [index])[0]
        at = patches.window(index, SIZE, lambda full=full: full.mask, cut, (seed, 1))
        for data in (chunked, fold, whole):
            image, mask = patches.take(data, "train", index, (), index, cut, (seed, 1))
            np.testing.assert_array_equal(image, full.image[at])
            np.testing.assert_array_equal(mask, full.mask[at])
