"""segframe_tfds with data that tensorflow-datasets prepares here, and with its mock of the Oxford pets."""

import importlib.util
import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from segframe import SegframeError
from segframe_tfds import build_tfds

ROOT = Path(__file__).parents[3]
PETS = {
    "set": "oxford_iiit_pet",
    "splits": {"train": "train", "val": None, "test": "test"},
    "class_names": ["background", "pet"],
    "class_ids": [[2], [1]],
    "ignore_ids": [3],
}
TRIMAPS = PETS | {"set": "trimaps", "ids": "file_name"}
SIZES = [(12, 16), (9, 20), (15, 11)]


@pytest.fixture(scope="session")
def tfds():
    return pytest.importorskip("tensorflow_datasets", reason="not installed: pip install -e '.[tfds]'")


def trimap(number):
    """(image, mask) as the pets' are stored: sizes differ, ids are 1, 2, 3."""
    random = np.random.default_rng(number)
    size = SIZES[number % len(SIZES)]
    image = random.integers(256, size=(*size, 3), dtype=np.uint8)
    return image, random.integers(1, 4, size=(*size, 1), dtype=np.uint8)


@pytest.fixture(scope="session")
def prepared(tfds, tmp_path_factory):
    """The folder of a data set "trimaps" that was prepared for random access: 4 samples train, 2 test."""

    class Trimaps(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
                    "segmentation_mask": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
                    "file_name": tfds.features.Text(),
                }
            )
            return tfds.core.DatasetInfo(builder=self, features=features, homepage="https://example.org")

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(range(4)), "test": self._generate_examples(range(4, 6))}

        def _generate_examples(self, numbers):
            for number in numbers:
                image, mask = trimap(number)
                name = f"pet_{number}.jpg"
                yield name, {"image": image, "segmentation_mask": mask, "file_name": name}

    folder = tmp_path_factory.mktemp("tfds")
    tfds.builder("trimaps", data_dir=str(folder)).download_and_prepare(file_format="array_record")
    return str(folder)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGFRAME_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def number_of(name):
    return int(name.removeprefix("pet_").removesuffix(".jpg"))


def test_samples_are_those_that_were_stored_and_ids_what_the_settings_say(prepared, own_cache):
    dataset = build_tfds(**TRIMAPS, data_dir=prepared)
    assert dataset.splits == ("train", "test") and dataset.num_classes == 2
    assert sorted(map(number_of, dataset.ids("train"))) == [0, 1, 2, 3]
    assert sorted(map(number_of, dataset.ids("test"))) == [4, 5]
    assert dataset.image_shape == (15, 20, 3)
    for split in dataset.splits:
        names = dataset.ids(split)
        for name, sample in zip(names, dataset.read(split, range(len(names))), strict=True):
            image, mask = trimap(number_of(name))
            np.testing.assert_array_equal(sample.image, image)
            expected = np.select([mask == 2, mask == 1], [0, 1], 255)[..., 0]
            np.testing.assert_array_equal(sample.mask, expected)


def test_it_keeps_the_contract_of_data_sets(prepared, own_cache):
    spec = importlib.util.spec_from_file_location("contract", ROOT / "tests" / "test_dataset_contract.py")
    contract = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(contract)
    dataset = build_tfds(**TRIMAPS, data_dir=prepared)
    checks = [value for name, value in vars(contract).items() if name.startswith("test_")]
    assert len(checks) >= 5
    for check in checks:
        check(dataset)


def test_a_part_of_a_split_is_a_split(prepared, own_cache):
    splits = {"train": "train[:3]", "val": "train[3:]", "test": "test"}
    dataset = build_tfds(**TRIMAPS | {"splits": splits}, data_dir=prepared)
    assert [len(dataset.ids(split)) for split in ("train", "val", "test")] == [3, 1, 2]
    assert not {*dataset.ids("train")} & {*dataset.ids("val")}


def test_several_threads_read_the_same_as_one(prepared, own_cache):
    dataset = build_tfds(**TRIMAPS, data_dir=prepared)
    order = [0, 3, 1, 2] * 25
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda index: dataset.read("train", [index])[0], order))
    for index, sample in zip(order, found, strict=True):
        np.testing.assert_array_equal(sample.image, dataset.read("train", [index])[0].image)


def test_resizing_is_bilinear_for_images_and_invents_no_ids(prepared, own_cache, caplog):
    caplog.set_level(logging.INFO, "segframe")
    dataset = build_tfds(**TRIMAPS, data_dir=prepared, size=[24, 32])
    assert "trimaps: every sample is resized to 24 x 32" in caplog.text
    assert dataset.image_shape == (24, 32, 3)
    where = [number_of(name) for name in dataset.ids("train")].index(0)  # 12 x 16: exactly twice as large
    image, mask = trimap(0)
    sample = dataset.read("train", [where])[0]
    wanted = np.select([mask == 2, mask == 1], [0, 1], 255)[..., 0]
    np.testing.assert_array_equal(sample.mask, wanted.repeat(2, 0).repeat(2, 1))
    left, right = image[0, 0].astype(float), image[0, 1].astype(float)
    assert np.abs(sample.image[0, 0] - left).max() == 0
    assert np.abs(sample.image[0, 1] - (3 * left + right) / 4).max() <= 1


def test_what_was_looked_at_once_is_remembered_until_a_setting_changes(prepared, own_cache, caplog):
    caplog.set_level(logging.INFO, "segframe")
    first = build_tfds(**TRIMAPS, data_dir=prepared)
    again = build_tfds(**TRIMAPS, data_dir=prepared)
    assert caplog.text.count("checking 6 samples of trimaps/1.0.0") == 1
    assert (again.content_hash, again.image_shape) == (first.content_hash, first.image_shape)
    assert again.ids("train") == first.ids("train")
    other = build_tfds(**TRIMAPS | {"class_ids": [[2, 3], [1]], "ignore_ids": []}, data_dir=prepared)
    assert other.content_hash != first.content_hash
    assert caplog.text.count("checking 6 samples") == 2


def test_an_image_in_two_splits_is_told_or_refused(prepared, own_cache, caplog):
    double = TRIMAPS | {"splits": {"train": "train", "test": "train[:1]"}}
    with pytest.raises(SegframeError, match="expected a name for each sample, in one split"):
        build_tfds(**double, data_dir=prepared)
    build_tfds(**double | {"ids": None}, data_dir=prepared)
    assert "1 images are in two splits" in caplog.text


def test_the_mocked_pets_are_read_by_the_values_of_the_conf_file(tfds, own_cache):
    import yaml

    def pets(self, split, **kwargs):
        return [dict(zip(("image", "segmentation_mask"), trimap(n), strict=True)) for n in range(3)]

    section = yaml.safe_load((ROOT / "conf/dataset/tfds.yaml").read_text())
    with tfds.testing.mock_data(as_data_source_fn=pets):
        wanted = {"name": "tfds", "download": True, "data_dir": "/nowhere"}  # mocked: nothing is fetched
        dataset = build_tfds(**{key: value for key, value in (section | wanted).items() if key != "name"})
        assert dataset.class_names == ("background", "pet") and dataset.splits == ("train", "test")
        assert dataset.ids("train") == ["train/0", "train/1", "train/2"]
        np.testing.assert_array_equal(dataset.read("train", [1])[0].image, trimap(1)[0])


def test_the_mocks_random_masks_are_refused_as_they_have_other_sizes_than_the_images(tfds, own_cache):
    with tfds.testing.mock_data(num_examples=1):
        with pytest.raises(SegframeError, match=r"'train/0': expected an image \(height, .* and a mask"):
            build_tfds(**PETS, download=True, data_dir="/nowhere")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"set": "oxford_iit_pet"}, r"dataset\.set: expected a data set .*\n.*oxford_iiit_pet"),
        ({"mask": "trimap"}, r"dataset\.mask: expected a feature of .*segmentation_mask.*, got 'trimap'"),
        ({"splits": {"train": "training"}}, r"dataset\.splits\.train: expected a split of .*\(train, test\)"),
        ({"image": "segmentation_mask", "mask": "image"}, r"sample .*: expected an image .* and a mask"),
        ({"ignore_ids": []}, r"mask: expected ids of .*, got 3"),
        ({"splits": {"train": "train", "test": "test[:0]"}}, r"dataset\.splits\.test: expected a split of"),
    ],
)
def test_what_does_not_fit_the_data_is_refused_with_a_remedy(prepared, own_cache, change, message):
    with pytest.raises(SegframeError, match=message):
        build_tfds(**TRIMAPS | change, data_dir=prepared)


def test_nothing_is_downloaded_unless_asked_for(tfds, tmp_path):
    with pytest.raises(SegframeError, match="(?s)nothing is downloaded unless.*dataset.download=true"):
        build_tfds(**PETS, data_dir=str(tmp_path / "empty"))
    assert not (tmp_path / "empty").exists()


def test_data_that_cannot_be_read_in_any_order_are_refused(tfds, prepared, tmp_path):
    tfds.builder("trimaps", data_dir=str(tmp_path)).download_and_prepare(file_format="tfrecord")
    with pytest.raises(SegframeError, match="expected data in the file format array_record.*got tfrecord"):
        build_tfds(**TRIMAPS, data_dir=str(tmp_path))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"splits": {"test": "test"}}, r"dataset\.splits: expected train"),
        ({"splits": {"train": "train", "dev": "x"}}, r"dataset\.splits"),
        ({"class_names": ["pet"]}, r"dataset\.class_names: expected two"),
        ({"class_ids": [[1]]}, r"dataset\.class_ids: expected a list of ids for each of 2 classes"),
        ({"class_ids": [[2], [3]]}, r"dataset\.class_ids: expected each id once"),
        ({"size": [128]}, r"dataset\.size: expected null, or \[height, width\]"),
    ],
)
def test_settings_are_refused_before_anything_is_imported(change, message):
    with pytest.raises(SegframeError, match=message):
        build_tfds(**PETS | change)


def test_without_the_library_the_error_says_how_to_install_it():
    script = (
        "import sys; sys.modules['tensorflow_datasets'] = None\n"
        "from segframe_tfds import build_tfds\n"
        "try:\n"
        f"    build_tfds(**{PETS!r})\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error, 'tensorflow' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "SegframeError dataset=tfds: expected tensorflow-datasets" in done.stdout
    assert "'.[tfds]'" in done.stdout and done.stdout.rstrip().endswith("False")


def test_the_main_job_runs_on_it_in_a_process_that_knows_only_the_prepared_files(prepared, tmp_path):
    given = "class_names=[background,pet] class_ids=[[2],[1]] ignore_ids=[3] ids=file_name size=[16,16]"
    words = [
        "dataset=tfds", "dataset.set=trimaps", f"dataset.data_dir='{prepared}'",
        *(f"dataset.{word}" for word in given.split()), "model.filters=2", "model.depth=1", "train.epochs=1",
        "split.val_fraction=0.25", "tracker=none", f"run_dir='{tmp_path}/run'",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "segframe", *words],
        capture_output=True,
        text=True,
        env=os.environ | {"SEGFRAME_CACHE": str(tmp_path / "cache"), "SEGFRAME_OPS": "off"},
    )
    assert done.returncode == 0, done.stderr
    assert "test: 2 images" in done.stdout and (tmp_path / "run" / "result.json").exists()
