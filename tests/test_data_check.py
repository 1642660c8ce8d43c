"""`data check`: every fault in one pass, for people and as JSON, with an exit code."""

import json

import h5py
import numpy as np
import pytest

from segframe.errors import SegframeError
from segframe.plugins.data_check import find_faults
from segframe.plugins.data_command import run
from segframe.plugins.hdf5 import open_hdf5


def spoil(file):
    """One fault of each kind that can be together with the others."""
    file["train/masks"][0, :2, 0] = [7, 9]
    file["test/images"][1, 0, :2, 0] = [np.nan, np.inf]
    file["train/images"][2] = file["test/images"][0]
    del file["train/ids"]
    file["train/ids"] = ["a", "test 1"]
    del file["test/ids"]
    file["test/ids"] = ["test 1", "test 1"]
    file["train/groups"] = ["p", "p", "q"]
    file["test/groups"] = ["q", "r"]
    file.attrs["spacing"] = [0.0, 1.0]
    file["val/images"] = np.zeros((2, 5, 5, 1), np.uint8)
    file["val/masks"] = np.zeros((3, 5, 4), np.int32)


EXPECTED = (
    "ids of the classes background, class 1",
    "finite numbers",
    "in one split only",
    "3 names, one per",
    "unique names",
    "each group in one split",
    "two positive numbers",
    "as many masks as images",
    "uint8 class ids",
    "images and masks of one size",
    "one number of channels and one dtype",
)


def test_all_faults_are_listed_at_once(hdf5_file, capsys):
    path = hdf5_file(spoil, dtype=np.float32)
    assert run(["check", str(path), "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    said = [
        f"{fault['subject']}: expected {fault['expected']}, got {fault['got']}" for fault in found["faults"]
    ]
    for words in EXPECTED:
        assert any(words in line for line in said), (words, said)
    assert not found["ok"] and found["samples"]["train"] == 3 and found["samples"]["test"] == 2
    assert run(["check", str(path)]) == 2
    text = capsys.readouterr().out
    assert all(words in text for words in EXPECTED) and f"{len(said)} faults" in text


def test_what_opens_and_hashes_has_no_fault(hdf5_file, own_cache, capsys):
    path = hdf5_file()
    assert run(["check", str(path)]) == 0 and "0 faults" in capsys.readouterr().out
    assert open_hdf5(path=str(path)).content_hash


def test_many_alike_are_counted_and_the_json_has_all(tmp_path, own_cache, capsys):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs["num_classes"] = 2
        file["train/images"] = np.random.default_rng(0).integers(256, size=(9, 4, 4, 1), dtype=np.uint8)
        file["train/masks"] = np.full((9, 4, 4), 255, np.uint8)
    run(["check", str(tmp_path / "x.h5")])
    text = capsys.readouterr().out
    assert text.count("Fault:") == 3 and "and 6 more like it" in text and "--map 255=1" in text
    run(["check", str(tmp_path / "x.h5"), "--json"])
    assert len(json.loads(capsys.readouterr().out)["faults"]) == 9


def test_what_cannot_be_opened_is_a_fault_too(tmp_path, capsys):
    (tmp_path / "x.h5").write_text("text")
    assert run(["check", str(tmp_path / "x.h5"), "--json"]) == 2
    [fault] = json.loads(capsys.readouterr().out)["faults"]
    assert "another format" in fault["got"] and "data import" in fault["remedy"]


def test_warnings_are_no_faults(hdf5_file):
    def change(file):
        file["test/masks"][...] = 0
        file["train/images"][1] = file["train/images"][0]

    found = find_faults(hdf5_file(change))
    assert not found.faults and len(found.warnings) == 3
    assert "train samples 'train 0' and 'train 1' have the same image" in found.warnings
    assert "no pixel in test is of class class 1" in found.warnings


def test_blank_images_may_be_in_two_splits(hdf5_file):
    def change(file):
        file["train/images"][0] = file["test/images"][0] = np.zeros((13, 21, 1))

    assert not find_faults(hdf5_file(change)).faults


def test_a_fault_of_one_sample_hides_none_of_another(tmp_path, own_cache):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs["num_classes"] = 2
        rng = np.random.default_rng(0)
        for name, size in {"a": (4, 5), "b": (4, 6), "c": (4, 5), "d": (3, 3)}.items():
            file[f"train/images/{name}"] = rng.integers(256, size=(4, 5, 1), dtype=np.uint8)
            file[f"train/masks/{name}"] = np.full(size, name == "c", np.uint8) * 3
        file["train/images/e"] = np.zeros((4, 5, 1), np.uint8)
    subjects = sorted(
        fault.subject.removeprefix(f"data file {tmp_path}/x.h5, ")
        for fault in find_faults(tmp_path / "x.h5").faults
    )
    assert subjects == ["/train", "/train sample 'b'", "/train sample 'd'", "train sample 'c', mask"]


@pytest.mark.parametrize("name", ["cars", "membrane", "camvid"])
def test_real_data_sets_have_no_fault(data_folder, name):
    found = find_faults(data_folder / f"{name}.h5")
    assert not found.faults and not found.warnings and sum(found.samples.values()) > 20


def test_opening_raises_the_first_of_what_check_lists(hdf5_file, own_cache):
    path = hdf5_file(spoil, dtype=np.float32)
    with pytest.raises(SegframeError) as caught:
        open_hdf5(path=str(path))
    assert str(caught.value) in {str(fault) for fault in find_faults(path).faults}
