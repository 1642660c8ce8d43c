"""`data import` and `data remap`: nothing guessed, nothing half written, the pixels unchanged."""

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


@pytest.fixture
def folders(tmp_path):
    """images/ and masks/ with ten pairs of 13 x 21 pixels, masks 0 and 1."""
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for index in range(10):
        pixels = rng.integers(256, size=(13, 21), dtype=np.uint8)
        mask = rng.integers(2, size=(13, 21), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"images/zelle ä {index}.png")
        Image.fromarray(mask).save(tmp_path / f"masks/zelle ä {index}.png")
    return tmp_path


def bring(folder, *options):
    out = folder / "out.h5"
    assert run(["import", str(folder / "images"), str(folder / "masks"), str(out), *options]) == 0
    return open_hdf5(path=str(out))


def save(path, array, mode=None):
    image = Image.fromarray(np.asarray(array, np.uint8))
    (image.convert(mode) if mode else image).save(path)


def times_255(folder):
    for path in (folder / "masks").iterdir():
        save(path, np.asarray(Image.open(path)) * 255)


def samples_of(dataset):
    return {
        name: dataset.read(split, [index])[0]
        for split in dataset.splits
        for index, name in enumerate(dataset.ids(split))
    }


def test_import_keeps_pixels_and_splits_by_seed(folders, caplog):
    with caplog.at_level("INFO", "segframe"):
        dataset = bring(folders)
    assert "split 7 train, 1 val, 2 test, seed 0" in caplog.text
    assert "classes are called background, class 1" in caplog.text
    assert "dataset=hdf5 dataset.path=" in caplog.text
    samples = samples_of(dataset)
    assert len(samples) == 10
    for name, (image, mask) in samples.items():
        np.testing.assert_array_equal(image[..., 0], Image.open(folders / f"images/{name}.png"))
        np.testing.assert_array_equal(mask, Image.open(folders / f"masks/{name}.png"))
    again = bring(folders, "--force")
    assert again.content_hash == dataset.content_hash
    assert bring(folders, "--force", "--seed", "1").ids("test") != dataset.ids("test")
    assert [p.name for p in folders.iterdir() if p.suffix == ".h5"] == ["out.h5"]


def test_import_of_the_raw_example_gives_the_pixels_of_cars(data_folder, tmp_path):
    raw, out = data_folder / "raw_example", tmp_path / "cars.h5"
    run(["import", str(raw / "images"), str(raw / "masks"), str(out), "--map", "255=1"])
    ours, cars = samples_of(open_hdf5(path=str(out))), open_hdf5(path=str(data_folder / "cars.h5"))
    assert set(ours) == set(cars.ids("train")[:16])
    for name, theirs in zip(cars.ids("train")[:16], cars.read("train", range(16)), strict=True):
        np.testing.assert_array_equal(ours[name].image, theirs.image)
        np.testing.assert_array_equal(ours[name].mask, theirs.mask)


def test_a_0_255_mask_is_never_guessed_and_the_remedy_works(folders):
    times_255(folders)
    with pytest.raises(SegframeError, match="(?s)got ids 0, 255.*--map 255=1") as caught:
        bring(folders)
    assert not (folders / "out.h5").exists()
    words = shlex.split(caught.value.remedy)
    assert words[:4] == ["python", "-m", "segframe", "data"]
    run(words[4:])
    assert open_hdf5(path=str(folders / "out.h5")).content_hash


def test_two_shares_are_train_and_test(folders):
    dataset = bring(folders, "--split", "0.8/0.2", "--class-names", "background,cell")
    assert dataset.splits == ("train", "test") and dataset.class_names == ("background", "cell")
    assert len(dataset.ids("test")) == 2


def test_a_void_id_is_recorded(folders):
    mask = np.zeros((13, 21), np.uint8)
    mask[0, :2] = [1, 255]
    save(folders / "masks/zelle ä 0.png", mask)
    dataset = bring(folders, "--ignore", "255")
    assert samples_of(dataset)["zelle ä 0"].mask[0, :2].tolist() == [1, 255]


def test_differing_sizes_become_one_dataset_per_sample(folders, caplog):
    for folder in ("images", "masks"):
        save(folders / folder / "zelle ä 3.png", np.ones((5, 30)))
    with caplog.at_level("INFO", "segframe"):
        dataset = bring(folders)
    assert "images of 2 sizes" in caplog.text and dataset.image_shape == (13, 30, 1)
    assert samples_of(dataset)["zelle ä 3"].image.shape == (5, 30, 1)


def test_colour_alpha_and_palettes_are_said(folders, caplog):
    colours = np.arange(13 * 21 * 4).reshape(13, 21, 4) % 256
    save(folders / "images/zelle ä 0.png", colours)
    save(folders / "images/zelle ä 1.png", colours[..., 0], "P")
    palette = Image.fromarray(np.ones((13, 21), np.uint8)).convert("P")
    palette.putdata([1] * (13 * 21))
    palette.save(folders / "masks/zelle ä 1.png")
    with caplog.at_level("INFO", "segframe"):
        samples = samples_of(bring(folders))
    np.testing.assert_array_equal(samples["zelle ä 0"].image, colours[..., :3])
    assert (samples["zelle ä 1"].mask == 1).all()
    for line in ("transparency", "palette", "grey images among coloured"):
        assert line in caplog.text


def deep_mask(folder):
    Image.fromarray(np.full((13, 21), 4000, np.uint16)).save(folder / "masks/zelle ä 0.png")


def colour_mask(folder):
    save(folder / "masks/zelle ä 0.png", np.zeros((13, 21, 3)))


def broken(folder):
    path = folder / "images/zelle ä 0.png"
    path.write_bytes(path.read_bytes()[:100])


def other_size(folder):
    save(folder / "masks/zelle ä 4.png", np.zeros((13, 20)))


def gap(folder):
    save(folder / "masks/zelle ä 4.png", np.full((13, 21), 7))


def background_only(folder):
    for path in (folder / "masks").iterdir():
        save(path, np.zeros((13, 21)))


def empty(folder):
    for path in (folder / "images").iterdir():
        path.rename(path.with_suffix(".jpgg"))


@pytest.mark.parametrize(
    "spoil, options, message",
    [
        (deep_mask, [], "class ids 0, 1, 2.*got ids 0, 1, 4000.*\n.*--map 4000=2"),
        (colour_mask, [], r"class ids as grey.*got colours 0,0,0 \(273 pixels\).*--colours background=0,0,0"),
        (broken, [], "zelle ä 0.png: expected a whole image"),
        (other_size, [], "sample 'zelle ä 4': expected.*one size, got image 13 x 21, mask 13 x 20"),
        (gap, [], "without a gap, got ids 0, 1, 7.*\n.*--map 7=2\n.*--class-names"),
        (gap, ["--class-names", "a,b"], "ids below 2, got ids 0, 1, 7"),
        (background_only, [], "pixels of a class, got background only"),
        (empty, [], "images .*got 10 files of type .jpgg"),
        (lambda folder: (folder / "masks/zelle ä 2.png").unlink(), [], "mask of the same name.*: zelle ä 2"),
        (lambda folder: (folder / "images/zelle ä 2.png").unlink(), [], "image of the same name.*: zelle"),
        (lambda folder: None, ["--split", "0.5/0.2"], "shares that sum to 1"),
        (lambda folder: None, ["--map", "255"], "OLD=NEW, as in 255=1, got '255'"),
        (lambda folder: None, ["--map", "0=1", "--map", "0=2"], "one new id for each id"),
        (lambda folder: None, ["--class-names", "a"], "two or more different names"),
        (lambda folder: None, ["--splitt", "1/0"], "unrecognized arguments"),
    ],
)  # fmt: skip
def test_what_cannot_be_imported_is_refused_and_nothing_is_left(folders, spoil, options, message):
    spoil(folders)
    with pytest.raises(SegframeError, match=f"(?s){message}"):
        bring(folders, *options)
    assert sorted(path.name for path in folders.iterdir() if path.is_file()) == []


def test_an_existing_file_and_a_missing_folder_are_refused(folders):
    bring(folders)
    with pytest.raises(SegframeError, match="(?s)one that is there already.*--force"):
        bring(folders)
    words = ["import", str(folders / "images"), str(folders / "masks")]
    with pytest.raises(SegframeError, match="(?s)no folder.*mkdir -p"):
        run([*words, str(folders / "new folder" / "out.h5")])
    with pytest.raises(SegframeError, match="got nothing of that name"):
        run(["import", str(folders / "image"), words[2], str(folders / "o.h5")])
    with pytest.raises(SegframeError, match="invalid choice"):
        run(["imprt"])


def test_remap_changes_ids_and_nothing_else(hdf5_file):
    def change(file):
        file["train/masks"][...] = file["train/masks"][()] * 255
        file.attrs["source"] = "Präparat"
        file["train"].attrs["note"] = 5
        file["train/images"].attrs["unit"] = "counts"
        file["extra/deep"] = [1, 2]

    path = hdf5_file(change)
    out = path.with_name("out.h5")
    assert run(["remap", str(path), str(out), "--map", "255=1"]) == 0
    with h5py.File(path) as old, h5py.File(out) as new:
        np.testing.assert_array_equal(new["train/masks"], old["train/masks"][()] // 255)
        names = []
        old.visit(names.append)
        for name in names:
            assert dict(new[name].attrs) == dict(old[name].attrs)
            if isinstance(old[name], h5py.Dataset) and name != "train/masks":
                np.testing.assert_array_equal(new[name], old[name])
        assert new.attrs["source"] == "Präparat" and list(new.attrs) == list(old.attrs)
    assert open_hdf5(path=str(out)).content_hash


def test_remap_mends_types_names_and_single_samples(tmp_path):
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file["train/images/a"] = np.full((13, 21), 65535, np.uint16)
        file["train/masks/a"] = np.arange(13 * 21).reshape(13, 21) % 3
    words = ["remap", str(tmp_path / "old.h5"), str(tmp_path / "new.h5"), "--images", "float32"]
    run([*words, "--class-names", "background,cell", "--ignore", "2"])
    dataset = open_hdf5(path=str(tmp_path / "new.h5"))
    image, mask = dataset.read("train", [0])[0]
    assert image.dtype == np.float32 and (image == 1.0).all()
    assert mask[0, :3].tolist() == [0, 1, 255] and dataset.content_hash


def test_remap_refuses_ids_that_are_no_class_and_leaves_nothing(hdf5_file):
    path = hdf5_file()
    with pytest.raises(SegframeError, match="ids below 2, the number of classes, got 9"):
        run(["remap", str(path), str(path.with_name("out.h5")), "--map", "1=9"])
    with pytest.raises(SegframeError, match="another file, got the same one"):
        run(["remap", str(path), str(path), "--map", "1=0", "--force"])
    assert [file.name for file in path.parent.glob("*.h5")] == [path.name]
