"""segframe.map_store: each map is made once, and never is a wrong, stale or partial one read."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from segframe import IGNORED, SegframeError
from segframe.dataset import Sample
from segframe.map_file import digest
from segframe.map_store import KeptMaps


class Masks:
    """A data set of masks alone."""

    splits, num_classes, ignore_index, spacing = ("train", "test"), 3, IGNORED, None

    def __init__(self, masks, content_hash="c" * 64):
        self.masks, self.content_hash = list(masks), content_hash

    def ids(self, split):
        return [f"{split}-{i}" for i in range(len(self.masks))] if split == "train" else []

    def read(self, split, indices):
        return [Sample(None, self.masks[index]) for index in indices]


class Maker:
    """Of each pixel its class and its class's number of pixels; slow if asked; counts what it made."""

    channels, dtype, padding, version = 2, "uint16", 7, "counts 1"

    def __init__(self, seconds=0.0, **attributes):
        self.made, self.seconds = 0, seconds
        vars(self).update(attributes)

    def make(self, mask):
        self.made += 1
        time.sleep(self.seconds)
        counts = np.bincount(mask.ravel(), minlength=256)[mask]
        return np.stack([mask, counts], axis=-1).astype(self.dtype)


def masks(count=6, seed=0):
    sizes = [(13, 21), (1, 9), (7, 1), (1, 1), (30, 30), (16, 5), (40, 41), (9, 9), (21, 13), (2, 2)]
    random = np.random.default_rng(seed)
    return [random.integers(3, size=size, dtype=np.uint8) for size in sizes[:count]]


def right(kept, data):
    for mask in data.masks:
        found = kept.make(mask)
        assert found.dtype == kept.dtype
        np.testing.assert_array_equal(found, Maker(dtype=kept.dtype).make(mask))
    return True


def spoil_the_largest_map(data):
    """Flip a bit in the middle of what is stored of it."""
    kept = KeptMaps("counts", Maker(), data)
    name = digest(max(data.masks, key=np.size))
    _, stored = kept.file._file[f"maps/{name}"].id.read_direct_chunk((0, 0, 0))
    kept.file.close()
    spoilt = bytearray(kept.path.read_bytes())
    spoilt[spoilt.index(stored) + len(stored) // 2] ^= 0x10
    kept.path.unlink()
    kept.path.write_bytes(spoilt)


@pytest.fixture(autouse=True)
def cache(own_cache, caplog):
    caplog.set_level(logging.INFO, "segframe")
    return own_cache


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_every_map_is_made_once_and_read_from_then_on(dtype, caplog):
    data, first, second = Masks(masks()), Maker(dtype=dtype), Maker(dtype=dtype)
    data.masks.append(data.masks[0].copy())  # the same mask twice
    assert right(KeptMaps("counts", first, data), data) and first.made == 6
    assert "Made the maps counts of 7 samples" in caplog.text
    kept = KeptMaps("counts", second, data)
    assert right(kept, data) and second.made == 0
    assert (kept.channels, kept.dtype, kept.padding, kept.version) == (2, dtype, 7, "counts 1")


def test_what_the_values_depend_on_has_a_file_of_its_own():
    data, finer, more = Masks(masks()), Masks(masks()), Masks(masks())
    finer.spacing, more.num_classes = (0.5, 0.5), 4
    kept = [
        KeptMaps("counts", Maker(), data),
        KeptMaps("counts", Maker(version="counts 2"), data),
        KeptMaps("others", Maker(), data),
        KeptMaps("counts", Maker(), finer),
        KeptMaps("counts", Maker(), more),
    ]
    assert len({each.path for each in kept}) == len(kept) and all(each.maker.made == 6 for each in kept)


def test_an_edited_mask_never_meets_its_old_map(caplog):
    data = Masks(masks())
    KeptMaps("counts", Maker(), data)
    data.masks[0] = data.masks[0] // 2  # behind the back of content_hash
    kept = KeptMaps("counts", Maker(), data)
    assert right(kept, data) and right(kept, data) and kept.maker.made == 1
    assert caplog.text.count("lacks the maps of some masks") == 1


def test_an_edited_data_set_takes_over_the_maps_of_what_stayed(caplog):
    data, edited = Masks(masks()), Masks(masks(), "d" * 64)
    edited.masks[4] = edited.masks[4] // 2
    KeptMaps("counts", Maker(), data)
    kept = KeptMaps("counts", Maker(), edited)
    assert kept.maker.made == 1 and right(kept, edited) and right(KeptMaps("counts", Maker(), data), data)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_file_cut_off_is_made_anew(share, caplog):
    data = Masks(masks())
    path = KeptMaps("counts", Maker(), data).path
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    kept = KeptMaps("counts", Maker(), data)
    assert right(kept, data) and kept.maker.made == 6 and "damaged" in caplog.text
    assert right(KeptMaps("counts", Maker(seconds=1e9), data), data)


def test_a_flipped_byte_is_noticed_when_it_is_read_and_mended_by_the_next_run(caplog):
    data = Masks(masks())
    spoil_the_largest_map(data)
    kept = KeptMaps("counts", Maker(), data)
    assert kept.maker.made == 0 and right(kept, data) and right(kept, data) and kept.maker.made == 1
    assert caplog.text.count("Kept maps are damaged") == 1
    kept = KeptMaps("counts", Maker(), data)
    assert right(kept, data) and kept.maker.made == 6


def test_a_check_reads_every_map(caplog):
    data = Masks(masks())
    spoil_the_largest_map(data)
    kept = KeptMaps("counts", Maker(), data, check=True)
    assert kept.maker.made == 1 and "Kept maps are damaged" in caplog.text
    kept.file.check()


def test_without_a_cache_folder_maps_are_made_and_held_in_memory(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SEGFRAME_CACHE", str(tmp_path / "file"))
    data = Masks(masks())
    kept = KeptMaps("counts", Maker(), data)
    assert kept.where() == "in memory" and "cannot be kept" in caplog.text and "SEGFRAME_CACHE" in caplog.text
    assert right(kept, data) and right(kept, data) and kept.maker.made == 6
    monkeypatch.setattr("segframe.map_store.MEMORY_BYTES", 2000)
    kept = KeptMaps("counts", Maker(), data)
    assert right(kept, data) and right(kept, data) and kept.maker.made > 6


def test_a_maker_that_breaks_its_word_and_a_stop_leave_nothing(cache):
    data = Masks(masks())
    with pytest.raises(SegframeError, match=r"maker of the maps 'counts': expected \(13, 21, 3\) uint16"):
        KeptMaps("counts", Maker(channels=3), data)

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        KeptMaps("counts", Maker(), data, on_map=stop)
    assert not [path for path in (cache / "maps").iterdir() if path.suffix != ".lock"]


CHILD = f"""
import json, os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_map_store import Maker, Masks, KeptMaps, masks, right
if len(sys.argv) > 2:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
maker, data = Maker(seconds=float(sys.argv[1])), Masks(masks(10))
print("ready", flush=True)
sys.stdin.readline()
kept = KeptMaps("counts", maker, data)
made = maker.made
print(json.dumps([made, right(kept, data), kept.where()]), flush=True)
"""


def child(*words):
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, *map(str, words)], text=True, env=dict(os.environ),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    return process


def test_two_processes_at_once_make_each_map_once():
    both = [child(0.1), child(0.1)]
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    told = [json.loads(process.communicate()[0]) for process in both]
    assert [wholly for _, wholly, _ in told] == [True, True]
    assert sorted(made for made, _, _ in told) == [0, 10]


def test_a_file_system_without_locks_is_enough_and_is_said(monkeypatch, caplog):
    def refuse(self, timeout):
        raise NotImplementedError("this file system does not appear to support flock")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    data = Masks(masks())
    kept = KeptMaps("counts", Maker(), data)
    assert kept.where() != "in memory" and right(kept, data) and kept.maker.made == 6
    assert "cannot lock files" in caplog.text


def test_a_kill_in_the_middle_leaves_nothing_that_is_read(cache):
    process = child(0.2)
    process.stdin.write("\n")
    process.stdin.flush()
    deadline = time.monotonic() + 60
    while not list((cache / "maps").glob(".*.h5")) if (cache / "maps").exists() else True:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    assert process.communicate()[0] == "" and process.returncode == -signal.SIGKILL
    assert list((cache / "maps").glob(".*.h5"))  # what it had begun, under its temporary name
    data = Masks(masks(10))
    kept = KeptMaps("counts", Maker(), data)
    assert right(kept, data) and kept.maker.made == 10
    assert [path.name for path in (cache / "maps").iterdir() if path.suffix == ".h5"] == [kept.path.name]


@pytest.mark.parametrize("size", [0, 3000, 20_000])
def test_a_full_disk_costs_the_file_and_not_the_run(cache, size):
    """A limit on the size of files stands for the disk."""
    made, wholly, where = json.loads(child(0, size).communicate("\n")[0])
    assert wholly and where == "in memory"
    assert not list((cache / "maps").glob("*.h5"))


def test_maps_are_read_beside_other_files(tmp_path):
    """Two threads in HDF5 at once end the process, so it is one of its own; unguarded it ends in a second."""
    words = f"""
import threading, time
import h5py, numpy as np
from pathlib import Path
from segframe import map_file
values = np.arange(64 * 64 * 2, dtype=np.uint16).reshape(64, 64, 2)
path, other = Path({str(tmp_path / "maps.h5")!r}), {str(tmp_path / "other.h5")!r}
names = [f"{{number:064x}}" for number in range(20)]
map_file.write(path, [(name, values) for name in names], key="key", about={{}})
with h5py.File(other, "w") as file:
    for name in names:
        file.create_dataset(name, data=values, compression="gzip")
maps, file, end = map_file.MapFile(path), h5py.File(other, "r"), time.monotonic() + 4

def until_the_end(read):
    while time.monotonic() < end:
        for name in names:
            assert (read(name) == values).all()

reads = [maps.read, lambda name: file[name][()]] * 2
threads = [threading.Thread(target=until_the_end, args=(read,)) for read in reads]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
