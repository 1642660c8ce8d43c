"""`data show`: numbers that NumPy and a plain flood fill give too, and a picture that shows the masks."""

import json

import h5py
import numpy as np
import pytest
from PIL import Image

from segframe.errors import SegframeError
from segframe.plugins.contact_sheet import chosen
from segframe.plugins.data_command import run
from segframe.plugins.fingerprint import components
from segframe.plugins.hdf5 import open_hdf5


@pytest.fixture(autouse=True)
def _place(own_cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def shown(capsys, path, *options):
    assert run(["show", str(path), "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def pieces(where):
    """By flood fill, corners touching."""
    left, count = {tuple(place) for place in np.argwhere(where).tolist()}, 0
    while left:
        count += 1
        edge = [left.pop()]
        while edge:
            row, column = edge.pop()
            for near in [(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]:
                if near in left:
                    left.remove(near)
                    edge.append(near)
    return count


def test_components_are_those_of_a_flood_fill():
    rng = np.random.default_rng(0)
    for share in (0.0, 0.2, 0.5, 1.0):
        where = rng.random((17, 23)) < share
        assert components(where) == pieces(where)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_numbers_are_those_of_numpy(hdf5_file, capsys, dtype):
    def change(file):
        file.attrs["spacing"] = (0.5, 2.0)
        file.attrs["ignore_index"] = 200
        file["train/masks"][0, :3] = 200
        file["train/groups"] = ["p", "p", "q"]

    path = hdf5_file(change, dtype=dtype, channels=3, num_classes=3)
    facts = shown(capsys, path, "--samples", "0")
    with h5py.File(path) as file:
        images = file["train/images"][()].astype(np.float64).reshape(-1, 3)
        masks = file["train/masks"][()]
    train = facts["splits"]["train"]
    for key, value in {
        "mean": images.mean(0),
        "std": images.std(0),
        "min": images.min(0),
        "max": images.max(0),
    }.items():
        np.testing.assert_allclose(train["intensity"][key], value, rtol=1e-12)
    valid = (masks != 200).sum()
    for class_id, name in enumerate(facts["class_names"]):
        found = train["classes"][name]
        assert found["pixels"] == (masks == class_id).sum() and found["share"] == found["pixels"] / valid
        assert found["components"] == sum(pieces(mask == class_id) for mask in masks)
    assert train["foreground_share"] == pytest.approx(((masks == 1) | (masks == 2)).sum() / valid)
    assert train["void_share"] == pytest.approx((masks == 200).mean())
    assert (
        facts["spacing_mm"] == [0.5, 2.0]
        and facts["channels"] == 3
        and facts["dtype"] == np.dtype(dtype).name
    )
    assert train["sizes"] == {"13x21": 3} and (train["samples"], train["groups"]) == (3, 2)
    assert list(path.parent.glob("*.png")) == []


def test_duplicates_and_near_ones_are_told_apart(hdf5_file, capsys):
    def change(file):
        file["train/images"][1] = file["test/images"][0]
        file["train/images"][2] = file["test/images"][1] // 2 + 60

    path = hdf5_file(change)
    facts = shown(capsys, path, "--samples", "0")
    assert facts["duplicates"] == [["train: train 1", "test: test 0"]]
    [near] = facts["near_duplicates"]
    assert near["samples"] == ["train: train 2", "test: test 1"] and near["across"]
    assert shown(capsys, path, "--samples", "0", "--distance", "255")["near_duplicates"][0]["across"]
    with pytest.raises(SegframeError, match="0 to 255 bits, got 256"):
        run(["show", str(path), "--distance", "256"])
    run(["show", str(path), "--samples", "0"])
    text = capsys.readouterr().out
    assert (
        "the same image: train: train 1, test: test 0" in text
        and "nearly the same image in two splits" in text
    )


def test_the_sheet_has_the_masks_on_the_images(tmp_path, capsys):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs["class_names"] = ["background", "square"]
        mask = np.zeros((40, 40), np.uint8)
        mask[10:30, 10:30] = 1
        file["train/images"] = np.full((1, 40, 40, 1), 100, np.uint8)
        file["train/masks"] = mask[None]
    run(["show", "x.h5", "--sheet", "s.png", "--samples", "3"])
    colours = {
        tuple(colour) for colour in np.asarray(Image.open("s.png").convert("RGB")).reshape(-1, 3).tolist()
    }
    assert (230, 159, 0) in colours and (100, 100, 100) in colours  # the outline and the image
    run(["show", "x.h5"])
    assert (tmp_path / "x-sheet.png").exists()
    with pytest.raises(SegframeError, match="(?s)a place to write.*--samples 0"):
        run(["show", "x.h5", "--sheet", "x.h5/s.png"])


def test_samples_of_all_splits_are_chosen_evenly(hdf5_file):
    dataset = open_hdf5(path=str(hdf5_file(splits={"train": 30, "val": 1, "test": 10})))
    found = chosen(dataset, 12)
    assert [split for split, _ in found].count("train") == 9 and ("val", 0) in found
    assert [index for split, index in found if split == "test"] == [0, 4, 9]
    assert len(chosen(dataset, 1000)) == 41


def test_real_data_is_as_its_readme_says(data_folder, capsys):
    facts = shown(capsys, data_folder / "cars.h5", "--samples", "0")
    assert facts["splits"]["train"]["classes"]["car"]["share"] == pytest.approx(0.194, abs=5e-4)
    assert facts["duplicates"] == facts["near_duplicates"] == []


def test_a_faulty_file_is_refused_with_the_way_to_all_faults(hdf5_file, caplog):
    def change(file):
        file["train/masks"][0, 0, 0] = 9

    with caplog.at_level("INFO", "segframe"), pytest.raises(SegframeError, match="got id 9"):
        run(["show", str(hdf5_file(change))])
    assert "data check" in caplog.text
