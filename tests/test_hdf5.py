"""HDF5 data sets: what is read is what was written, and what cannot be used is refused with the remedy."""

import os
import subprocess
import sys
import threading

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segframe.dataset import IGNORED
from segframe.errors import SegframeError
from segframe.plugins.hdf5 import open_hdf5
from segframe.plugins.hdf5_raw import raw_file
from segframe.plugins.hdf5_read_ahead import on_disk_only
from segframe.plugins.hdf5_stored import StoredArray
from segframe.plugins.hdf5_writer import writing


@pytest.fixture(autouse=True)
def _cache(own_cache):
    pass


def opened(path):
    return open_hdf5(path=str(path))


def test_reads_samples_in_the_order_asked_for(hdf5_file):
    path = hdf5_file(name="Präparat 1 (neu).h5")
    dataset = opened(path)
    assert dataset.splits == ("train", "test") and dataset.image_shape == (13, 21, 1)
    assert dataset.ids("train") == dataset.groups("train") == ("train 0", "train 1", "train 2")
    samples = dataset.read("train", [2, 0])
    with h5py.File(path) as file:
        for sample, index in zip(samples, (2, 0), strict=True):
            np.testing.assert_array_equal(sample.image, file["train/images"][index])
            np.testing.assert_array_equal(sample.mask, file["train/masks"][index])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    channels=st.integers(1, 4),
    samples=st.integers(1, 5),
    dtype=st.sampled_from(["uint8", "<f4", ">f4"]),
    compression=st.sampled_from([None, "gzip", "lzf"]),
    rows=st.integers(1, 5),
    per_sample=st.booleans(),
)
def test_any_storage_reads_alike(tmp_path, size, channels, samples, dtype, compression, rows, per_sample):
    rng = np.random.default_rng(samples)
    images = rng.integers(256, size=(samples, *size, channels)).astype(dtype)
    masks = rng.integers(2, size=(samples, *size), dtype=np.uint8)
    path = tmp_path / "any.h5"
    with h5py.File(path, "w") as file:
        file.attrs["num_classes"] = 2
        for kind, arrays in (("images", images), ("masks", masks)):
            if per_sample:
                for index, array in enumerate(arrays):
                    file.create_dataset(f"train/{kind}/s{index}", data=array, compression=compression)
            else:
                chunks = (min(rows, samples), *arrays.shape[1:])
                file.create_dataset(f"train/{kind}", data=arrays, compression=compression, chunks=chunks)
    dataset = opened(path)
    for index, sample in enumerate(dataset.read("train", range(samples))):
        np.testing.assert_array_equal(sample.image, images[index])
        np.testing.assert_array_equal(sample.mask, masks[index])
        assert sample.image.dtype.isnative and sample.mask.dtype == np.uint8
    dataset.close()


def test_writer_and_reader_agree_on_differing_sizes(tmp_path):
    sizes = {"a": (13, 21), "b": (5, 30)}
    with writing(tmp_path / "sizes.h5", per_sample=True) as writer:
        for name, size in sizes.items():
            writer.add("train", name, np.full((*size, 3), 7, np.uint8), np.ones(size, np.uint8), group="one")
        writer.set({"class_names": ["background", "thing"], "spacing": (0.5, 2.0)})
    dataset = opened(tmp_path / "sizes.h5")
    assert dataset.image_shape == (13, 30, 3) and dataset.spacing == (0.5, 2.0)
    assert [sample.mask.shape for sample in dataset.read("train", [0, 1])] == list(sizes.values())
    assert dataset.groups("train") == ("one", "one")


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), writing(tmp_path / "x.h5") as writer:
        writer.add("train", "a", np.zeros((3, 3, 1), np.uint8), np.zeros((3, 3), np.uint8))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "ignored, expected", [(2, [0, 1, IGNORED]), (0, [IGNORED, 0, 1]), (1, [0, IGNORED, 1])]
)
def test_an_ignored_class_is_taken_out_and_ids_are_compact(hdf5_file, caplog, ignored, expected):
    def change(file):
        mask = np.zeros((13, 21), np.uint8)
        mask[0, :3] = [0, 1, 2]
        file["train/masks"][0] = mask
        file.attrs["ignore_index"] = ignored

    with caplog.at_level("INFO", "segframe"):
        dataset = opened(hdf5_file(change, num_classes=3))
    assert f"class {ignored} " in caplog.text and "counts nowhere" in caplog.text
    assert dataset.num_classes == len(dataset.class_names) == 2
    assert dataset.read("train", [0])[0].mask[0, :3].tolist() == expected


def test_a_void_id_beyond_the_classes_becomes_ignored(hdf5_file):
    def change(file):
        file["train/masks"][0, 0, 0] = 200
        file.attrs["ignore_index"] = 200

    dataset = opened(hdf5_file(change))
    assert dataset.num_classes == 2 and dataset.read("train", [0])[0].mask[0, 0] == IGNORED
    assert dataset.content_hash


def test_missing_ids_and_names_are_made_up_and_said(hdf5_file, caplog):
    def change(file):
        del file["train/ids"], file.attrs["class_names"]
        file["validation/images"] = 0

    with caplog.at_level("INFO", "segframe"):
        dataset = opened(hdf5_file(change))
    assert dataset.ids("train") == ("train/0", "train/1", "train/2")
    assert dataset.class_names == ("background", "class 1")
    for line in ("has no ids", "has no class_names", "/validation is no split"):
        assert line in caplog.text


def test_ids_may_be_attributes_and_axes_of_one_may_be_missing_or_extra(hdf5_file, caplog):
    def change(file):
        images, masks = file["train/images"][..., 0], file["train/masks"][()][..., None]
        del file["train/images"], file["train/masks"], file["train/ids"]
        file["train/images"], file["train/masks"] = images, masks
        file["train"].attrs["ids"] = ["x", "y", "z"]

    with caplog.at_level("INFO", "segframe"):
        dataset = opened(hdf5_file(change))
    assert dataset.ids("train") == ("x", "y", "z") and "one channel" in caplog.text
    image, mask = dataset.read("train", [1])[0]
    assert image.shape == (13, 21, 1) and mask.shape == (13, 21)


def test_threads_read_what_one_reads(hdf5_file):
    dataset = opened(hdf5_file(splits={"train": 20}))
    expected = [sample.image.tobytes() for sample in dataset.read("train", range(20))]
    found = {}

    def work(thread):
        found[thread] = [s.image.tobytes() for _ in range(5) for s in dataset.read("train", range(20))]

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found[thread] == expected * 5 for thread in range(4))


@pytest.mark.parametrize("rows", [0, 1, 4], ids=["contiguous", "a sample a chunk", "four"])
def test_samples_that_lie_on_the_disk_are_asked_for_before_they_are_read(tmp_path, monkeypatch, rows):
    path = tmp_path / "cold.h5"
    images = np.random.default_rng(0).integers(256, size=(60, 64, 64, 3), dtype=np.uint8)
    with h5py.File(path, "w") as file:
        file.create_dataset("train/images", data=images, chunks=(rows, 64, 64, 3) if rows else None)
        file.create_dataset("train/masks", data=np.zeros((60, 64, 64), np.uint8), chunks=(4, 64, 64))
        file.attrs["class_names"] = ["background", "cell"]
    asked, advise = [], os.posix_fadvise

    def noted(descriptor, offset, size, advice):
        asked.append((offset, size))
        advise(descriptor, offset, size, advice)

    def drop_pages():
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            advise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    monkeypatch.setattr(os, "posix_fadvise", noted)
    with h5py.File(path) as file:
        array = StoredArray(file["train/images"], 1, raw_file(file))
    dataset, dropped = opened(path), False
    for _ in range(20):  # the system need not drop them each time
        drop_pages()
        dropped |= on_disk_only(array, 50)
        drop_pages()
        read, _ = dataset.read_stacked("train", [50, 3, 59], np.empty)
        np.testing.assert_array_equal(read, images[[50, 3, 59]])
        if asked:
            break
    if not dropped:
        pytest.skip("this file system keeps in memory what it is told to drop, or cannot be asked")
    # Not the masks: several in a chunk.
    assert asked == ([] if rows == 4 else [span for index in (50, 3, 59) for span in array.spans(index)])
    with pytest.raises(IndexError, match="no index 60"):
        dataset.read_stacked("train", [60], np.empty)


def replace(name, value):
    def change(file):
        del file[name]
        if value is not None:
            file[name] = value

    return change


def attribute(name, value):
    return lambda file: file.attrs.__setitem__(name, value)


def group(names):
    def change(file):
        for split, values in names.items():
            file[f"{split}/groups"] = values

    return change


def rename(old, new):
    return lambda file: file.move(old, new)


def external(file):
    del file["test"]
    file["test"] = h5py.ExternalLink("/etc/other.h5", "/test")


def no_classes(file):
    del file.attrs["class_names"], file.attrs["num_classes"]


FAULTS = {
    "no train": (rename("train", "trainn"), r"expected a group 'train'.*\n.*Did you mean 'trainn'"),
    "no images": (rename("train/images", "train/image"), r"'images' in it, got .*image.*\n.*'image'"),
    "no masks": (replace("test/masks", None), r"/test: expected 'masks'"),
    "fewer masks": (replace("train/masks", np.zeros((2, 13, 21), np.uint8)), "3 images and 2 masks"),
    "other size": (replace("train/masks", np.zeros((3, 13, 20), np.uint8)), "image 13 x 21, mask 13 x 20"),
    "empty": (lambda f: [replace(f"test/{k}", np.zeros((0, 3, 3), np.uint8))(f) for k in ("images", "masks")],
              "at least one sample, got none"),
    "16 bits": (replace("train/images", np.zeros((3, 13, 21, 1), np.uint16)), "got uint16.*--images float32"),
    "long masks": (replace("train/masks", np.zeros((3, 13, 21), np.int64)), r"got int64.*\n.*data remap"),
    "one-hot": (replace("train/masks", np.zeros((3, 13, 21, 2), np.uint8)), r"\(samples, height, width\)"),
    "id twice": (replace("train/ids", ["a", "b", "a"]), "'a' twice in train"),
    "id in two splits": (replace("train/ids", ["a", "b", "test 1"]), "'test 1' twice in train and test"),
    "too few ids": (replace("train/ids", ["a", "b"]), "3 names, one per sample, got 2"),
    "group in two": (group({"train": ["p", "q", "r"], "test": ["s", "q"]}), "'q' in train and test"),
    "link": (external, "in the file itself, got a ExternalLink"),
    "no classes": (no_classes, "class_names or num_classes.*\n.*--class-names"),
    "names differ": (attribute("num_classes", 3), "as many as class_names, got 3 and 2"),
    "names twice": (attribute("class_names", ["a", "a"]), "list of different names"),
    "names text": (attribute("class_names", "a,b"), "list of different names"),
    "float classes": (attribute("num_classes", 2.0), "one integer"),
    "one class": (lambda f: (attribute("num_classes", 1)(f), attribute("class_names", ["a"])(f)), "2 to 255"),
    "void -1": (attribute("ignore_index", -1), "id of 0 to 255, got -1"),
    "spacing 0": (attribute("spacing", [0.0, 1.0]), "two positive numbers"),
    "spacing text": (attribute("spacing", "1mm"), "two positive numbers"),
    "channels": (replace("test/images", np.zeros((2, 13, 21, 3), np.uint8)), r"got \[1, 3\] channels"),
    "dtypes": (replace("test/images", np.zeros((2, 13, 21, 1), np.float32)), "train uint8, test float32"),
}  # fmt: skip


@pytest.mark.parametrize("change, message", FAULTS.values(), ids=FAULTS)
def test_a_faulty_file_is_refused_when_opened(hdf5_file, change, message):
    with pytest.raises(SegframeError, match=f"(?s){message}"):
        opened(hdf5_file(change))


def test_a_missing_file_names_the_nearest(hdf5_file):
    path = hdf5_file(name="cells.h5")
    with pytest.raises(SegframeError, match="(?s)no file of that name.*Did you mean 'cells.h5'"):
        opened(path.with_name("cell.h5"))
    with pytest.raises(SegframeError, match="no folder"):
        opened(path.parent / "nowhere" / "cells.h5")
    with pytest.raises(SegframeError, match="(?s)got a folder.*data import"):
        opened(path.parent)


def test_other_and_cut_off_files_are_told_apart(hdf5_file, tmp_path):
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(SegframeError, match="in another format"):
        opened(tmp_path / "text.h5")
    (tmp_path / "empty.h5").touch()
    with pytest.raises(SegframeError, match="an empty file"):
        opened(tmp_path / "empty.h5")
    path = hdf5_file()
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SegframeError, match="ends too early"):
        opened(path)


def test_a_file_that_is_being_written_is_refused(hdf5_file):
    path = hdf5_file()
    code = f"import h5py, sys; f = h5py.File({str(path)!r}, 'a'); print('open', flush=True); sys.stdin.read()"
    writer = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert writer.stdout.readline().strip() == b"open"
        with pytest.raises(SegframeError, match="(?s)being written.*Wait until"):
            opened(path)
    finally:
        writer.communicate()
    assert opened(path).num_classes == 2


def test_samples_of_differing_sizes_are_checked_by_name(tmp_path):
    with writing(tmp_path / "sizes.h5", per_sample=True) as writer:
        writer.add("train", "cell 7", np.zeros((4, 5, 1), np.uint8), np.zeros((4, 6), np.uint8))
        writer.set({"num_classes": 2})
    with pytest.raises(SegframeError, match="sample 'cell 7': expected images and masks of one size"):
        opened(tmp_path / "sizes.h5")
    with h5py.File(tmp_path / "sizes.h5", "a") as file:
        file["train/images/alone"] = np.zeros((4, 5, 1), np.uint8)
    with pytest.raises(SegframeError, match="sample 'alone' without mask"):
        opened(tmp_path / "sizes.h5")
