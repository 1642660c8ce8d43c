"""Masks of every kind through `data import`: nothing guessed, and each remedy's command works when pasted."""

import shlex

import numpy as np
import pytest
from PIL import Image

from segframe.errors import SegframeError
from segframe.plugins.data_command import run
from segframe.plugins.hdf5 import open_hdf5
from segframe.plugins.image_files import Page
from segframe.plugins.mask_kinds import Coding, read_coded, read_colours

RANDOM = np.random.default_rng(5)
IDS = [RANDOM.integers(3, size=(13, 21), dtype=np.uint8) for _ in range(6)]
PALETTE = np.array([[0, 0, 0], [255, 0, 0], [10, 200, 30]], np.uint8)


@pytest.fixture
def folders(tmp_path, own_cache):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for index in range(6):
        Image.fromarray(RANDOM.integers(256, size=(13, 21, 3), dtype=np.uint8)).save(
            tmp_path / f"images/{index}.png"
        )

    def masks(make, suffix="png", **options):
        for index, ids in enumerate(IDS):
            Image.fromarray(make(ids)).save(tmp_path / f"masks/{index}.{suffix}", **options)
        return tmp_path

    return masks


def bring(folder, *options):
    assert run(["import", f"{folder}/images", f"{folder}/masks", f"{folder}/out.h5", *options]) == 0
    return result(folder)


def result(folder):
    dataset = open_hdf5(path=f"{folder}/out.h5")
    return dataset, {
        name: dataset.read(split, [index])[0].mask
        for split in dataset.splits
        for index, name in enumerate(dataset.ids(split))
    }


def pasted(error, folder):
    """What the command in the remedy makes."""
    lines = [line for line in error.remedy.splitlines() if "python -m segframe" in line]
    words = shlex.split(lines[0][lines[0].index("python -m segframe") :])
    assert run(words[4:]) == 0
    return result(folder)


def test_colours_are_named_counted_and_proposed_but_not_guessed(folders):
    folder = folders(lambda ids: PALETTE[ids])
    with pytest.raises(SegframeError) as caught:
        bring(folder)
    counts = np.bincount(np.concatenate(IDS).ravel())
    for colour, count in zip(("0,0,0", "255,0,0", "10,200,30"), counts, strict=True):
        assert f"{colour} ({count} pixels)" in caught.value.got
    dataset, _ = pasted(caught.value, folder)
    assert dataset.class_names[0] == "background" and dataset.num_classes == 3
    dataset, masks = bring(
        folder, "--force", "--colours", "background=0,0,0", "car=255,0,0", "tree=10,200,30"
    )
    assert dataset.class_names == ("background", "car", "tree")
    for index, ids in enumerate(IDS):
        np.testing.assert_array_equal(masks[str(index)], ids)


def test_colours_beyond_the_table_are_told(folders):
    folder = folders(lambda ids: PALETTE[ids])
    with pytest.raises(SegframeError, match=r"got colours 10,200,30 \(\d+ pixels\)") as caught:
        bring(folder, "--colours", "background=0,0,0", "car=255,0,0")
    dataset, masks = pasted(caught.value, folder)
    assert dataset.class_names == ("background", "car", "class2")
    np.testing.assert_array_equal(masks["0"], IDS[0])


def test_a_table_of_colours_from_a_file_and_a_void_class(folders, tmp_path):
    (tmp_path / "colours.csv").write_text("name,r,g,b\nbackground,0,0,0\ncar,255,0,0\nvoid,10,200,30\n")
    folder = folders(lambda ids: PALETTE[ids])
    dataset, masks = bring(folder, "--colours", str(tmp_path / "colours.csv"), "--ignore", "void")
    assert dataset.class_names == ("background", "car")
    np.testing.assert_array_equal(masks["1"], np.where(IDS[1] == 2, 255, IDS[1]))


def test_palette_indices_are_ids(folders):
    folder = folders(lambda ids: ids)
    for index, ids in enumerate(IDS):
        image = Image.fromarray(ids).convert("P")
        image.putdata(ids.ravel().tolist())
        image.putpalette([7, 7, 7, 200, 0, 0, 0, 200, 0])
        image.save(folder / f"masks/{index}.png")
    _, masks = bring(folder)
    np.testing.assert_array_equal(masks["3"], IDS[3])


def test_instances_of_more_than_8_bits_become_one_class(folders):
    folder = folders(lambda ids: ids.astype(np.uint16) * (np.arange(21, dtype=np.uint16) * 17 + 300), "tif")
    with pytest.raises(SegframeError, match="(?s)without a gap, got ids 0, .*--instances NAME") as caught:
        bring(folder)
    dataset, masks = pasted(caught.value, folder)
    assert dataset.class_names == ("background", "NAME")
    np.testing.assert_array_equal(masks["2"], IDS[2] > 0)


def test_few_instances_without_a_gap_are_asked_about(folders, caplog):
    folder = folders(lambda ids: np.maximum(np.arange(21, dtype=np.uint8)[None] + 4, 0) * (ids > 0))
    Image.fromarray(np.arange(13 * 21, dtype=np.int64).reshape(13, 21).astype(np.uint8) % 25).save(
        folder / "masks/0.png"
    )
    with caplog.at_level("INFO", "segframe"):
        dataset, _ = bring(folder)
    assert dataset.num_classes == 25 and "25 ids: if each is one object" in caplog.text


def test_a_jpeg_mask_smears_and_is_cut_by_a_threshold(folders):
    folder = folders(
        lambda ids: np.kron(ids[:3, :5] > 0, np.ones((5, 5), bool))[:13, :21].astype(np.uint8) * 255, "jpg"
    )
    with pytest.raises(SegframeError, match="--threshold 128"):
        bring(folder)
    _, masks = bring(folder, "--threshold", "128")
    for index, ids in enumerate(IDS):
        np.testing.assert_array_equal(masks[str(index)], np.kron(ids[:3, :5] > 0, np.ones((5, 5)))[:13, :21])


def test_several_files_are_one_mask(tmp_path):
    first, second = np.zeros((2, 13, 21), np.uint8)
    first[:5], second[4:9] = 1, 1
    for name, array in (("a", first), ("b", second), ("c", second * 2)):
        Image.fromarray(array).save(tmp_path / f"{name}.png")
    pages = [Page(tmp_path / f"{name}.png") for name in "abc"]
    np.testing.assert_array_equal(read_coded(pages[:2], Coding()).ids, first | second)
    with pytest.raises(SegframeError, match="(?s)one class for each pixel.*1 and 2 at row 4, column 0"):
        read_coded([pages[0], pages[2]], Coding())
    np.testing.assert_array_equal(
        read_coded([pages[0], pages[2]], Coding(instances=True)).ids, first | second
    )


@pytest.mark.parametrize(
    "words, message",
    [
        (["car=1,2"], "NAME=RED,GREEN,BLUE"),
        (["car=1,2,256", "b=0,0,0"], "NAME=RED,GREEN,BLUE"),
        (["a=0,0,0", "b=0,0,0"], "each name and colour once"),
        (["a=0,0,0"], "NAME=RED,GREEN,BLUE|2 to 255 classes"),
        (["nowhere.csv"], "a CSV file"),
    ],
)
def test_a_wrong_table_is_refused(words, message):
    with pytest.raises(SegframeError, match=message):
        read_colours(words)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--map", "255=1", "--threshold", "3"], "one way to read them, got --map and --threshold"),
        (["--colours", "a=0,0,0", "b=1,1,1", "--class-names", "a,b"], "one list of names"),
        (["--ignore", "nothing"], "an id of 0 to 255"),
        (["--bits", "12"], "more than 8 bits, got 8 bits"),
        (["--bits", "40"], "1 to 32"),
        (["--workers", "0"], "number of threads above 0"),
        (["--spacing", "1"], "two positive numbers"),
    ],
)
def test_words_that_do_not_fit_are_refused(folders, options, message):
    folder = folders(lambda ids: ids)
    with pytest.raises(SegframeError, match=message):
        bring(folder, *options)
    assert not (folder / "out.h5").exists()
