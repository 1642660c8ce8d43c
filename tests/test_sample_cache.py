"""device.cache: the same samples with and without; a file that is whole or not there, whatever happens."""

import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from segframe import memory, sample_cache
from segframe.__main__ import main
from segframe.plugins.hdf5 import open_hdf5
from segframe.sample_cache import cached
from segframe.split import parts

SECTION = {
    "val": "auto", "val_fraction": 0.4, "train_fraction": 1.0, "seed": 0,
    "folds": None, "fold": None, "repeat": 0,
}  # fmt: skip


@pytest.fixture
def data(hdf5_file, own_cache):
    path = hdf5_file(name="Präparat 1.h5", splits={"train": 7, "test": 3})
    dataset = open_hdf5(path=str(path))
    return dataset, parts(dataset, SECTION)


@pytest.fixture
def mixed(tmp_path, own_cache):
    """Images of differing sizes, float32."""
    from segframe.plugins.hdf5_writer import writing

    rng = np.random.default_rng(0)
    with writing(tmp_path / "mixed.h5", per_sample=True) as writer:
        for split, count in {"train": 4, "val": 2}.items():
            for index in range(count):
                size = rng.integers(3, 20, 2)
                image = rng.random((*size, 2), np.float32)
                writer.add(split, f"{split} {index}", image, rng.integers(2, size=size, dtype=np.uint8))
        writer.set({"class_names": ["background", "cell"]})
    dataset = open_hdf5(path=str(tmp_path / "mixed.h5"))
    return dataset, parts(dataset, SECTION)


def same(one, other):
    for split in one.splits:
        indices = [*range(len(one.ids(split)))][::-1]
        for found, expected in zip(other.read(split, indices), one.read(split, indices), strict=True):
            for a, b in zip(found, expected, strict=True):
                np.testing.assert_array_equal(a, b)
                assert a.dtype == b.dtype
        stacked = other.read_stacked and other.read_stacked(split, indices, np.empty)
        if stacked:
            for a, b in zip(stacked, one.read_stacked(split, indices, np.empty), strict=True):
                np.testing.assert_array_equal(a, b)
                assert a.dtype == b.dtype


def files(own_cache):
    return sorted(own_cache.rglob("*.samples"))


@pytest.mark.parametrize("where", ["none", "memory", "disk"])
@pytest.mark.parametrize("kind", ["data", "mixed"])
def test_the_samples_are_the_same_and_decoded_once(request, kind, where, caplog, monkeypatch):
    dataset, chosen = request.getfixturevalue(kind)
    plain = open_hdf5(path=str(dataset.path))
    with caplog.at_level("INFO", "segframe"):
        kept = cached(dataset, chosen, where)
    assert (f"device.cache={where}" in caplog.text) == (where != "none")
    same(plain, kept)
    assert kept.class_names == plain.class_names and kept.content_hash == plain.content_hash
    if where != "none":
        monkeypatch.setattr(type(dataset), "_stored", None)  # whatever is decoded now fails
        for split in plain.splits:
            kept.read(split, range(len(plain.ids(split))))


def test_a_file_serves_later_runs_and_other_splits(data, own_cache, monkeypatch, caplog):
    dataset, chosen = data
    cached(dataset, chosen, "disk")
    again = open_hdf5(path=str(dataset.path))
    with caplog.at_level("INFO", "segframe"):
        kept = cached(again, parts(again, SECTION | {"val": "none"}), "disk")
    assert "are read from" in caplog.text and len(files(own_cache)) == 1
    same(dataset, kept)


def test_other_data_have_another_file(data, hdf5_file, own_cache):
    cached(*data, "disk")
    other = open_hdf5(path=str(hdf5_file(name="other.h5", seed=1)))
    cached(other, parts(other, SECTION), "disk")
    assert len(files(own_cache)) == 2


@pytest.mark.parametrize("spoil", ["a sample", "the index", "the end"])
def test_a_damaged_file_is_noticed(data, own_cache, caplog, spoil):
    dataset, chosen = data
    cached(dataset, chosen, "disk")
    (path,) = files(own_cache)
    content = bytearray(path.read_bytes())
    if spoil == "the end":
        content = content[:-1000]
    else:
        content[3 if spoil == "a sample" else -100] ^= 4
    path.write_bytes(content)
    kept = cached(dataset, chosen, "disk")
    same(dataset, kept)
    assert caplog.text.count("are damaged") == 1
    assert path.exists() == (spoil != "a sample")  # the others were written anew
    same(dataset, cached(dataset, chosen, "disk"))
    assert caplog.text.count("are damaged") == 1


def test_what_does_not_fit_into_memory_is_said_and_not_kept(data, monkeypatch, caplog):
    dataset, chosen = data
    monkeypatch.setattr(sample_cache, "available_memory", lambda: 5000)
    assert cached(dataset, chosen, "memory") is dataset
    assert "more than half of the 0.0 MB that are free" in caplog.text


def test_a_containers_bound_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    machine = memory.available_memory()
    assert machine > 10**8
    (tmp_path / "memory.current").write_text("300000000\n")
    (tmp_path / "memory.stat").write_text("anon 100000000\nfile 200000000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_memory() > 10**8
    (tmp_path / "memory.max").write_text("310000000\n")
    assert memory.available_memory() == 210_000_000


def test_a_folder_that_cannot_be_written_is_said_and_goes_without(data, tmp_path, monkeypatch, caplog):
    dataset, chosen = data
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SEGFRAME_CACHE", str(tmp_path / "file"))
    assert cached(dataset, chosen, "disk") is dataset
    assert "device.cache=disk: samples cannot be kept" in caplog.text


CHILD = textwrap.dedent(
    """
    import logging, os, sys, time
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    from segframe.plugins.hdf5 import open_hdf5
    from segframe.sample_cache import cached
    from segframe.split import parts
    import numpy as np
    dataset = open_hdf5(path=sys.argv[1])
    chosen = parts(dataset, WHOLE)
    def slowly():
        print("sample", flush=True)
        time.sleep(float(sys.argv[2]))
    """
).replace("WHOLE", repr(SECTION | {"val": "none"}))
KEEP = 'print(type(cached(dataset, chosen, "disk", slowly)).__name__)'


def child(data, code=KEEP, pause=0.0):
    command = [sys.executable, "-c", CHILD + code, str(data[0].path), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_killed_run_leaves_nothing_that_looks_whole(data, own_cache):
    killed = child(data, pause=60)
    assert "sample\n" in killed.stdout  # reads up to it
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    killed.stdout.close()
    assert [file.name[0] for file in files(own_cache)] == ["."]
    kept = cached(*data, "disk")
    assert len(files(own_cache)) == 1 and files(own_cache)[0].name[0] != "."
    same(data[0], kept)


def test_two_runs_at_once_decode_once(data, own_cache):
    both = [child(data, pause=0.3) for _ in range(2)]
    said = sorted((process.communicate()[0] for process in both), key=len)
    assert sum("decoding 10 samples" in text for text in said) == 1
    assert all("OnDisk" in text for text in said) and "Another process is writing" in "".join(said)
    assert len(files(own_cache)) == 1


def test_a_full_disk_is_said_and_leaves_nothing(data, own_cache):
    """A file may not grow beyond 1,000 bytes: the system refuses as a full disk does."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
    said = child(data, limit + KEEP).communicate()[0]
    assert "samples cannot be kept and are decoded each time" in said and "Hdf5Dataset" in said
    assert not files(own_cache)


def test_what_is_kept_is_listed_and_cleared_while_a_run_reads_it(data, own_cache, capsys):
    kept = cached(*data, "disk")
    assert main(["cache", "list"]) == 0
    listed = capsys.readouterr().out
    assert "10 samples" in listed and str(data[0].path) in listed
    assert main(["cache", "clear"]) == 0
    assert "removed 0.0 MB" in capsys.readouterr().out and not files(own_cache)
    same(data[0], kept)
