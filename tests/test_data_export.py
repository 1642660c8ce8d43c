"""`data export` writes what `data import` reads back to the same data set, every bit of it."""

import shlex

import h5py
import numpy as np
import pytest
from PIL import Image

from segframe.errors import SegframeError
from segframe.plugins.data_command import run
from segframe.plugins.hdf5 import open_hdf5


@pytest.fixture(autouse=True)
def _cache(own_cache):
    pass


def samples(path):
    dataset = open_hdf5(path=str(path))
    found = {
        split: {
            name: (*dataset.read(split, [index])[0], group)
            for index, (name, group) in enumerate(zip(dataset.ids(split), dataset.groups(split), strict=True))
        }
        for split in dataset.splits
    }
    return (dataset.class_names, dataset.spacing), found


def there_and_back(path, folder, caplog):
    """Export, then the command that export says."""
    caplog.clear()
    with caplog.at_level("INFO", "segframe"):
        run(["export", str(path), str(folder)])
    [line] = [record.getMessage() for record in caplog.records if "back again" in record.getMessage()]
    words = shlex.split(line.split("python -m segframe data ")[1])
    run([str(folder) + ".h5" if word == "OUT.h5" else word for word in words])
    facts, old = samples(path)
    again, new = samples(str(folder) + ".h5")
    assert facts == again and {s: sorted(old[s]) for s in old} == {s: sorted(new[s]) for s in new}
    for split, named in old.items():
        for name, (image, mask, group) in named.items():
            assert new[split][name][0].dtype == image.dtype and new[split][name][2] == group
            np.testing.assert_array_equal(new[split][name][0], image)
            np.testing.assert_array_equal(new[split][name][1], mask)


def sixteen(file):
    for split in ("train", "test"):
        values = np.random.default_rng(0).integers(65536, size=file[f"{split}/images"].shape)
        file[f"{split}/images"][...] = (values / 65535.0).astype(np.float32)


def grouped(file):
    file.attrs["spacing"] = (0.1, 2.5)
    file.attrs["ignore_index"] = 1
    file["train/groups"], file["test/groups"] = ["p", "p", "q q"], ["r", "r"]


@pytest.mark.parametrize(
    "change, options",
    [
        (None, {}),
        (None, {"channels": 3}),
        (None, {"dtype": np.float32}),
        (sixteen, {"dtype": np.float32}),
        (sixteen, {"dtype": np.float32, "channels": 3}),
        (grouped, {"num_classes": 4}),
    ],
    ids=["grey", "colour", "float", "16 bits", "16-bit colour", "groups, void class, spacing"],
)
def test_a_data_set_goes_out_and_comes_back(hdf5_file, tmp_path, caplog, change, options):
    there_and_back(hdf5_file(change, **options), tmp_path / "my folder", caplog)


@pytest.mark.parametrize("name", ["cars", "membrane", "camvid"])
def test_real_data_goes_out_and_comes_back(data_folder, tmp_path, caplog, name):
    there_and_back(data_folder / f"{name}.h5", tmp_path / name, caplog)


def test_the_files_are_what_pillow_reads(hdf5_file, tmp_path):
    path = hdf5_file(channels=3)
    run(["export", str(path), str(tmp_path / "out")])
    with h5py.File(path) as file:
        np.testing.assert_array_equal(
            Image.open(tmp_path / "out/images/train/train 1.png"), file["train/images"][1]
        )
        np.testing.assert_array_equal(
            Image.open(tmp_path / "out/masks/test/test 0.png"), file["test/masks"][0]
        )


def test_names_with_slashes_become_file_names(hdf5_file, tmp_path):
    def change(file):
        del file["train/ids"]

    run(["export", str(hdf5_file(change)), str(tmp_path / "out")])
    assert sorted(path.name for path in (tmp_path / "out/masks/train").iterdir()) == [
        f"train_{i}.png" for i in range(3)
    ]


def test_what_no_format_holds_is_refused_and_nothing_is_left(hdf5_file, tmp_path):
    path = hdf5_file(channels=3, dtype=np.float32)
    with pytest.raises(SegframeError, match="No image format here"):
        run(["export", str(path), str(tmp_path / "out")])

    def twice(file):
        file["train/ids"][...] = ["a/b", "a_b", "c"]

    with pytest.raises(SegframeError, match="names that differ as file names do"):
        run(["export", str(hdf5_file(twice)), str(tmp_path / "out")])
    assert [found.name for found in tmp_path.iterdir() if found.is_dir()] in ([], ["cache"])
    (tmp_path / "there").mkdir()
    with pytest.raises(SegframeError, match="a new folder"):
        run(["export", str(path), str(tmp_path / "there")])
