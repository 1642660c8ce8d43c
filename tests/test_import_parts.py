"""A large import: in parts, within bounds of memory, on after a kill, whole or not at all."""

import os
import shutil
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
from PIL import Image

from segframe.errors import SegframeError
from segframe.plugins import import_parts
from segframe.plugins.data_command import run
from segframe.plugins.hdf5 import open_hdf5

COUNT = 40


@pytest.fixture
def folders(tmp_path, own_cache):
    """40 pairs of 32 x 40 pixels, of which some are larger with `sizes`."""

    def make(sizes=False):
        rng = np.random.default_rng(0)
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir()
        for index in range(COUNT):
            size = (32 + 8 * (sizes and index % 3), 40)
            Image.fromarray(rng.integers(256, size=(*size, 3), dtype=np.uint8)).save(
                tmp_path / f"images/{index}.png"
            )
            Image.fromarray(rng.integers(2, size=size, dtype=np.uint8)).save(tmp_path / f"masks/{index}.png")
        return tmp_path

    return make


def words(folder, out, *options):
    return ["import", f"{folder}/images", f"{folder}/masks", f"{folder}/{out}", *options]


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(import_parts, "PART_BYTES", 7 * 32 * 40 * 4)


def content(path):
    dataset = open_hdf5(path=str(path))
    try:
        return dataset.content_hash
    finally:
        dataset.close()


@pytest.mark.parametrize("sizes", [False, True], ids=["one size", "several sizes"])
def test_parts_give_what_is_written_at_once(folders, monkeypatch, sizes):
    folder = folders(sizes)
    run(words(folder, "once.h5", "--groups", "(.)$"))
    monkeypatch.setattr(import_parts, "PART_BYTES", 7 * 32 * 40 * 4)
    run(words(folder, "parts.h5", "--groups", "(.)$"))
    assert content(folder / "parts.h5") == content(folder / "once.h5")
    assert sorted(os.listdir(folder)) == ["cache", "images", "masks", "once.h5", "parts.h5"]


SLOW = """
import sys, time
from segframe.plugins import import_images, import_parts
from segframe.plugins.data_command import run
import_parts.PART_BYTES = 7 * 32 * 40 * 4
read = import_images.read_sample
def slow(*words):
    time.sleep(0.05)
    return read(*words)
import_images.read_sample = slow
run(sys.argv[1:])
"""


def test_a_killed_import_goes_on_and_a_damaged_part_is_made_again(folders, small_parts, monkeypatch, caplog):
    folder = folders()
    run(words(folder, "once.h5"))
    parts = folder / ".out.h5.import"
    child = subprocess.Popen([sys.executable, "-c", SLOW, *words(folder, "out.h5", "--workers", "1")])
    for _ in range(600):
        if len(list(parts.glob("part-*.h5"))) >= 3:
            break
        time.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert not (folder / "out.h5").exists()
    there = sorted(parts.glob("part-*.h5"))
    assert len(there) >= 3
    with h5py.File(there[0], "a") as file:
        file["train/images"][2, 3, 4, 0] += 1
    before = there[1].stat().st_mtime_ns
    made = []

    def seen(path):
        made.append(path.name)
        return new_file(path)

    new_file = import_parts.new_file
    monkeypatch.setattr(import_parts, "new_file", seen)
    with caplog.at_level("INFO", "segframe"):
        run(words(folder, "out.h5"))
    assert f"{len(there) - 1} of 6 parts are there" in caplog.text
    assert there[0].name in made and there[1].name not in made and before
    assert content(folder / "out.h5") == content(folder / "once.h5")
    assert not parts.exists()


def test_parts_of_other_files_or_options_are_not_believed(folders, small_parts, caplog):
    folder = folders()
    path = folder / "images/39.png"
    good = path.read_bytes()
    path.write_bytes(good[:-400])
    with caplog.at_level("INFO", "segframe"):
        with pytest.raises(SegframeError, match="39.png"):
            run(words(folder, "out.h5"))
        assert "the same command goes on from there" in caplog.text
        assert len(list((folder / ".out.h5.import").glob("part-*.h5"))) >= 4
        path.write_bytes(good)
        run(words(folder, "out.h5"))
    assert "of other files or options: the import starts from the beginning" in caplog.text
    assert len(open_hdf5(path=str(folder / "out.h5")).ids("train")) == 28


def test_two_imports_to_one_file_do_not_mix(folders, small_parts):
    from filelock import FileLock

    folder = folders()
    (folder / ".out.h5.import").mkdir()
    with FileLock(folder / ".out.h5.import/lock"), pytest.raises(SegframeError, match="one import to it"):
        run(words(folder, "out.h5"))


LIMITED = """
import resource, sys
from segframe.errors import SegframeError
from segframe.plugins import import_parts
from segframe.plugins.data_command import run
import_parts.PART_BYTES = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
try:
    run(sys.argv[3:])
except SegframeError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files there")
@pytest.mark.parametrize("part_bytes", [2**28, 7 * 32 * 40 * 4], ids=["at once", "in parts"])
def test_a_full_disk_is_an_error_and_leaves_no_file(folders, part_bytes):
    """A limit on the size of files stands for the disk; h5py alone dies of it."""
    folder = folders()
    for verb in (
        words(folder, "out.h5"),
        ["remap", str(folder / "good.h5"), str(folder / "out.h5"), "--map", "1=0"],
    ):
        if verb[0] == "remap":
            run(words(folder, "good.h5"))
        code = [sys.executable, "-c", LIMITED, "20000", str(part_bytes), *verb]
        done = subprocess.run(code, capture_output=True, text=True)
        assert done.returncode == 0 and "a place to write, got [Errno 27]" in done.stdout, done.stderr[-500:]
        assert not (folder / "out.h5").exists() and not list(folder.glob(".*out.h5"))


MEMORY = """
import resource, sys, threading
from segframe.plugins import import_parts
from segframe.plugins.data_command import run
import PIL.Image, PIL.PngImagePlugin, h5py, numpy, rich.progress, filelock
from segframe.plugins import import_command, import_images, import_split, mask_kinds
from pathlib import Path
import os
import_parts.PART_BYTES = 2**24
used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE")
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[1]),) * 2)
run(sys.argv[2:])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_a_set_larger_than_memory_is_imported(tmp_path, own_cache):
    """300 MB of pixels where 200 MiB may be used, the address space of two threads included."""
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    image = Image.fromarray(rng.integers(256, size=(1, 1200, 3), dtype=np.uint8).repeat(1000, axis=0))
    mask = Image.fromarray((np.arange(1200) > 500).astype(np.uint8)[None].repeat(1000, axis=0))
    image.save(tmp_path / "images/0.png")
    mask.save(tmp_path / "masks/0.png")
    for folder in ("images", "masks"):
        for index in range(1, 64):
            shutil.copy(tmp_path / folder / "0.png", tmp_path / folder / f"{index}.png")
    limit = str(200 * 2**20)
    code = [sys.executable, "-c", MEMORY, limit, *words(tmp_path, "out.h5", "--workers", "2")]
    done = subprocess.run(code, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1500:]
    with h5py.File(tmp_path / "out.h5") as file:
        assert sum(len(file[split]["images"]) for split in file) == 64
        np.testing.assert_array_equal(file["test/images"][3], np.asarray(image))
