"""segframe.order: each sample once, and chunks of several samples by windows that fit into memory."""

import itertools

import h5py
import numpy as np
import pytest

from segframe.folds import Fold
from segframe.order import StoredBlocks, blocks_of, order_facts, shuffled
from segframe.plugins import hdf5_blocks, hdf5_dataset
from segframe.plugins.hdf5 import open_hdf5
from segframe.split import Part


def random(seed=0):
    return np.random.default_rng(seed)


def test_windows_hold_whole_blocks_and_every_sample_comes_once():
    blocks = StoredBlocks(np.arange(50) // 4, 3, 1)  # 13 blocks, the last one of two samples
    orders = {tuple(shuffled(random(seed), 50, blocks)) for seed in range(5)}
    assert len(orders) == 5
    for order in orders:
        assert sorted(order) == list(range(50))
        seen, closed = [], set()
        for block in blocks.of[list(order)]:
            assert block not in closed
            if block not in seen:
                if len(seen) == 3:
                    closed |= set(seen)
                    seen = []
                seen.append(block)
    np.testing.assert_array_equal(shuffled(random(1), 50, blocks), shuffled(random(1), 50, blocks))
    np.testing.assert_array_equal(shuffled(random(1), 50, None), random(1).permutation(50))


def test_samples_of_one_window_come_in_any_order():
    """Not block by block: in a window of all blocks, each place sees each sample about as often."""
    blocks = StoredBlocks(np.arange(8) // 2, 4, 1)
    counts = np.zeros((8, 8))
    for seed in range(4000):
        counts[np.arange(8), shuffled(random(seed), 8, blocks)] += 1
    assert np.abs(counts / 500 - 1).max() < 0.2


def small_windows(monkeypatch, size):
    for module in (hdf5_blocks, hdf5_dataset):
        monkeypatch.setattr(module, "WINDOW_BYTES", size)


@pytest.fixture
def chunked(tmp_path):
    """A file of 40 samples in chunks of `rows` samples; returns its data set and the arrays."""

    numbers = itertools.count()

    def write(rows, **options):
        random = np.random.default_rng(rows)
        images = random.integers(256, size=(40, 8, 12, 3), dtype=np.uint8)
        masks = random.integers(2, size=(40, 8, 12), dtype=np.uint8)
        path = tmp_path / f"{next(numbers)}.h5"
        with h5py.File(path, "w") as file:
            file.attrs["class_names"] = ["background", "cell"]
            for name, values in (("images", images), ("masks", masks)):
                chunks = (rows, *values.shape[1:])
                file.create_dataset(f"train/{name}", data=values, chunks=chunks, **options)
        return open_hdf5(path=str(path)), images, masks

    return write


def whole(dataset):
    ids = tuple(dataset.ids("train"))
    return Part("train", tuple(range(len(ids))), ids)


@pytest.mark.parametrize("options", [{}, {"compression": "gzip"}, {"compression": "lzf"}])
def test_a_chunk_of_several_samples_is_decoded_once_in_a_window(chunked, monkeypatch, options):
    small_windows(monkeypatch, 3 * 4 * 8 * 12 * 4)
    dataset, images, masks = chunked(4, **options)
    dataset._blocks = hdf5_blocks.Blocks(2 * hdf5_blocks.WINDOW_BYTES)
    blocks = blocks_of(dataset, whole(dataset))
    assert blocks.together == 3 and len(np.unique(blocks.of)) == 10
    order = shuffled(random(), 40, blocks)
    decoded = []
    read = hdf5_dataset.StoredArray.read

    def counted(self, start, stop=None, out=None):
        decoded.append((self.where, start))
        return read(self, start, stop, out)

    monkeypatch.setattr(hdf5_dataset.StoredArray, "read", counted)
    for start in range(0, 40, 8):
        found, ids = dataset.read_stacked("train", order[start : start + 8], np.empty)
        np.testing.assert_array_equal(found, images[order[start : start + 8]])
        np.testing.assert_array_equal(ids, masks[order[start : start + 8]])
    assert len(decoded) == len(set(decoded)) == 20


def test_folds_see_the_blocks_of_their_samples(chunked, monkeypatch):
    small_windows(monkeypatch, 3 * 4 * 8 * 12 * 4)
    dataset, images, masks = chunked(4)
    table = {"splits": ["train"], "test": [[f"train/{index}" for index in range(0, 40, 5)]]}
    fold = Fold(dataset, table, 0)
    blocks = blocks_of(fold, whole(fold))
    mine = [index for index in range(40) if index % 5]
    assert blocks.together == 3
    np.testing.assert_array_equal(np.unique(blocks.of, return_inverse=True)[1], np.array(mine) // 4)
    found, ids = fold.read_stacked("train", range(32), np.empty)
    np.testing.assert_array_equal(found, images[mine])
    np.testing.assert_array_equal(ids, masks[mine])


def test_order_is_part_of_a_runs_identity_where_it_depends_on_the_chunks(chunked, monkeypatch, caplog):
    """The content hash does not tell how a file is chunked."""
    assert not order_facts(chunked(4)[0], whole(chunked(4)[0])), "all of it fits into a window"
    small_windows(monkeypatch, 3 * 4 * 8 * 12 * 4)
    dataset = chunked(4)[0]
    with caplog.at_level("INFO", "segframe"):
        facts = order_facts(dataset, whole(dataset))
    assert "windows of 3 of 10 chunks" in facts["order"] and "windows of 3 of 10 chunks" in caplog.text
    assert order_facts(chunked(2)[0], whole(dataset)) != facts
    assert not order_facts(chunked(1)[0], whole(dataset))
    part = Part("train", (0, 1, 2, 39), ("a", "b", "c", "d"))
    assert not order_facts(dataset, part), "two chunks"
