"""Images and masks are paired by name: patterns, folders of splits, one folder for both."""

import shlex

import numpy as np
import pytest
from PIL import Image

from segframe.errors import SegframeError
from segframe.plugins.data_command import run
from segframe.plugins.hdf5 import open_hdf5

RANDOM = np.random.default_rng(0)


@pytest.fixture
def fill(tmp_path, own_cache):
    """Saves images and masks under the names given; a mask is 1 where its image is above 127."""

    def make(names):
        for image, *masks in names:
            pixels = RANDOM.integers(256, size=(9, 11), dtype=np.uint8)
            for path, array in (
                (image, pixels),
                *((mask, (pixels > 127).astype(np.uint8)) for mask in masks),
            ):
                (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(tmp_path / path)
        return tmp_path

    return make


def bring(folder, images, masks, *options):
    run(["import", f"{folder}/{images}", f"{folder}/{masks}", f"{folder}/out.h5", *options])
    return check(folder)


def check(folder):
    """Each mask lies on its image; returns the data set."""
    dataset = open_hdf5(path=f"{folder}/out.h5")
    for split in dataset.splits:
        for image, mask in dataset.read(split, range(len(dataset.ids(split)))):
            np.testing.assert_array_equal(mask, image[..., 0] > 127)
    return dataset


def names(dataset):
    return {split: sorted(dataset.ids(split)) for split in dataset.splits}


def test_masks_with_a_suffix_are_proposed_and_the_command_works(fill):
    folder = fill([(f"i/cell {n}.jpg.png", f"m/cell {n}.jpg_mask.png") for n in range(4)])
    with pytest.raises(SegframeError, match="4 without") as caught:
        bring(folder, "i", "m")
    command = caught.value.remedy[caught.value.remedy.index("python -m") :]
    run(shlex.split(command)[4:])
    assert sum(map(len, names(check(folder)).values())) == 4


def test_both_in_one_folder_with_a_prefix_and_another_ending(fill):
    folder = fill([(f"x/{n}.tif", f"x/gt-{n}.bmp") for n in range(3)])
    dataset = bring(folder, "x", "x", "--mask-name", "gt-NAME", "--split", "1/0/0")
    assert names(dataset) == {"train": ["0", "1", "2"]}


def test_names_of_images_have_patterns_too(fill, caplog):
    folder = fill([(f"x/im_{n}_rgb.png", f"x/im_{n}_seg_v2.png") for n in range(3)] + [("x/notes.png",)])
    with caplog.at_level("INFO", "segframe"):
        dataset = bring(folder, "x", "x", "--mask-name", "im_NAME_seg*", "--image-name", "im_NAME_rgb")
    assert sorted(sum(names(dataset).values(), [])) == ["0", "1", "2"] and "notes.png" in caplog.text


def test_several_mask_files_of_one_sample(fill):
    folder = fill([(f"i/{n}.png", f"m/{n}_inst1.png", f"m/{n}_inst2.png") for n in range(3)])
    with pytest.raises(SegframeError, match="NAME_inst*") as caught:
        bring(folder, "i", "m")
    run(shlex.split(caught.value.remedy[caught.value.remedy.index("python -m") :])[4:])
    check(folder)


def test_folders_are_splits_and_equal_names_get_the_splits(fill, caplog):
    folder = fill([(f"i/{s}/{n}.png", f"m/{s}/{n}.png") for s in ("train", "test") for n in range(2)])
    with caplog.at_level("INFO", "segframe"):
        dataset = bring(folder, "i", "m")
    assert names(dataset) == {"train": ["train-0", "train-1"], "test": ["test-0", "test-1"]}
    assert "as the folders say" in caplog.text and "SPLIT-NAME" in caplog.text
    with pytest.raises(SegframeError, match="one way to split"):
        bring(folder, "i", "m", "--seed", "1", "--force")


def test_pages_are_samples_of_one_group(fill, tmp_path, caplog):
    for kind in ("i", "m"):
        (tmp_path / kind).mkdir()
    for name in ("a", "b", "c"):
        pages = [RANDOM.integers(256, size=(9, 11), dtype=np.uint8) for _ in range(3)]
        for kind, arrays in (("i", pages), ("m", [(page > 127).astype(np.uint8) for page in pages])):
            first, *rest = map(Image.fromarray, arrays)
            first.save(tmp_path / kind / f"{name}.tif", save_all=True, append_images=rest)
    with caplog.at_level("INFO", "segframe"):
        dataset = bring(tmp_path, "i", "m", "--split", "0.6/0.2/0.2")
    assert "3 files of several pages" in caplog.text and "are a group" in caplog.text
    stem = dataset.groups("test")[0]
    assert names(dataset)["test"] == [f"{stem}_000", f"{stem}_001", f"{stem}_002"]
    Image.fromarray(pages[0]).save(tmp_path / "m/a.tif")
    with pytest.raises(
        SegframeError, match="as many pages in the mask as in the image, got a.tif 3, a.tif 1"
    ):
        bring(tmp_path, "i", "m", "--force")
    for name in ("a", "b"):
        (tmp_path / f"i/{name}.tif").unlink()
        (tmp_path / f"m/{name}.tif").unlink()
    with pytest.raises(SegframeError, match=r"3 samples in 1 groups.*\n.*--groups \('\(\.\*\)'"):
        bring(tmp_path, "i", "m", "--force")
    assert bring(tmp_path, "i", "m", "--force", "--groups", "(.*)").splits == ("train", "val", "test")


@pytest.mark.parametrize(
    "files, options, message",
    [
        ([("i/a.png", "m/a.png"), ("i/a.bmp",)], [], "one file per name, got a.bmp and a.png"),
        ([("i/a.png", "m/a.png")], ["--mask-name", "mask"], "a pattern with NAME in it"),
        ([("i/train/a.png", "m/test/a.png")], [], "a folder train too"),
        ([("i/val/a.png", "m/val/a.png")], [], "a folder train, got none"),
        ([("i/x/a.png", "m/x/a.png")], [], "(?s)got no files.*Its folders are x"),
        ([("i/a_000.png", "m/a_000.png"), ("i/b.png",)], [], "1 without: b"),
    ],
)
def test_what_has_no_clear_pairs_is_refused(fill, files, options, message):
    with pytest.raises(SegframeError, match=message):
        bring(fill(files), "i", "m", *options)
