"""segframe.folds: a fold that is not there is an error; each is what the run trains on and is scored by."""

import json
import logging
from pathlib import Path

import h5py
import numpy as np
import pytest

from segframe.catalog import build
from segframe.errors import SegframeError
from segframe.experiment import run_experiment
from segframe.folds import check_fold, seen_as_fold
from segframe.metrics import split_scores
from segframe.record import Record
from segframe.split import parts

SECTION = {"folds": 3, "fold": 0, "repeat": 0, "fold_splits": ["train", "val"]}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"fold": None}, "split.fold: expected 0 to 2 with split.folds=3, got null.\n.*split.fold=0,1,2$"),
        ({"fold": 3}, "split.fold: expected 0 to 2 with split.folds=3, got 3"),
        ({"folds": None}, "split.fold: expected null without split.folds, got 0.\n.*split.folds=5"),
        ({"folds": None, "fold": None, "repeat": 1}, "split.repeat: expected 0 without split.folds, got 1"),
        ({"fold_splits": ["val"]}, r"split.fold_splits: expected train and .* got \['val'\]"),
        ({"fold_splits": ["train", "train"]}, "split.fold_splits: expected .* each once"),
    ],
    ids=str,
)
def test_a_fold_that_is_not_there_is_refused(change, message):
    check_fold(SECTION)
    check_fold({"folds": None, "fold": None, "repeat": 0, "fold_splits": ["train"]})
    with pytest.raises(SegframeError, match=message):
        check_fold(SECTION | change)


@pytest.fixture
def seen(plugins, config, squares, tmp_path):
    """The squares, 6 of train and 3 of val in 4 groups, as each of the 3 folds."""
    with h5py.File(squares, "r+") as file:
        file["train/groups"] = ["a", "a", "a", "b", "c", "c"]
        file["val/groups"] = ["d", "e", "e"]
    made = config("split.folds=3", "split.fold=0")
    dataset = build(plugins, "dataset", made["dataset"])
    folds = [seen_as_fold(dataset, made | {"split": made["split"] | {"fold": fold}}) for fold in range(3)]
    return dataset, folds, made


def test_every_sample_is_tested_once_and_its_group_never_trains_then(seen):
    dataset, folds, made = seen
    tested = [name for fold in folds for name in fold.ids("test")]
    assert sorted(tested) == sorted([*dataset.ids("train"), *dataset.ids("val")])
    for number, fold in enumerate(folds):
        chosen = parts(fold, made["split"] | {"fold": number})
        assert set(chosen) == {"train", "val", "test"}
        groups = {
            name: {fold.groups(part.split)[index] for index in part.indices} for name, part in chosen.items()
        }
        assert not groups["train"] & groups["test"] and not groups["val"] & (groups["train"] | groups["test"])
        assert sum(len(part.ids) for part in chosen.values()) == 9


def test_samples_are_read_from_where_they_lie(seen):
    dataset, folds, _ = seen
    where = {name: (split, i) for split in ("train", "val") for i, name in enumerate(dataset.ids(split))}
    for fold in folds:
        assert fold.content_hash == dataset.content_hash and fold.image_shape == dataset.image_shape
        for split in fold.splits:
            ids = fold.ids(split)
            found = fold.read(split, range(len(ids)))
            for name, sample in zip(ids, found, strict=True):
                of, index = where[name]
                (original,) = dataset.read(of, [index])
                np.testing.assert_array_equal(sample.image, original.image)
                np.testing.assert_array_equal(sample.mask, original.mask)


def test_what_is_kept_apart_and_what_a_fold_lacks_is_said(plugins, config, squares, caplog):
    with h5py.File(squares, "r+") as file:
        file["train/masks"][1:] = 0
        file["val/masks"][...] = 0
    caplog.set_level(logging.INFO, "segframe")
    made = config("split.folds=3", "split.fold=0")
    dataset = build(plugins, "dataset", made["dataset"])
    warned = []
    for fold in range(3):
        caplog.clear()
        seen_as_fold(dataset, made | {"split": made["split"] | {"fold": fold}})
        assert f"Fold {fold} of 3, repeat 0: 3 of the 9 samples of train and val" in caplog.text
        assert "test split (3 samples) is kept apart" in caplog.text
        warned += [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warned) == 2 and all("no sample that shows square" in text for text in warned)


def test_a_run_of_a_fold_trains_and_is_scored_on_it_and_records_the_table(plugins, config):
    made = config("split.folds=3", "split.fold=2", "train.epochs=1", "split.val=none")
    result = run_experiment(plugins, made)
    record = Record(Path(result.out_dir)).read("record.json")
    (file,) = (Path(made["runs_dir"]) / "folds").glob("*.json")
    assert record["data"]["folds"] == json.loads(file.read_text()) | {"fold": 2}
    table = record["data"]["folds"]["test"]
    assert sorted(record["data"]["samples"]["test"]) == sorted(table[2])
    assert sorted(record["data"]["samples"]["train"]) == sorted(table[0] + table[1])
    assert result.per_image["test"]["id"] == record["data"]["samples"]["test"]
    counts = np.array(result.confusion["test"])
    assert counts.sum() == 3 * 17 * 23
    pooled = split_scores(counts[None], ["background", "square"])["dice_pooled"]
    assert pooled == pytest.approx(result.scores["test/dice_pooled"])


def test_a_run_does_not_go_on_with_other_folds(plugins, config):
    made = config("split.folds=3", "split.fold=1", "train.epochs=1")
    result = run_experiment(plugins, made)
    record = Record(Path(result.out_dir))
    facts = record.read("record.json")
    facts["data"]["samples"]["test"][0] = "train-99"
    record.write("record.json", facts)
    record.set_status("interrupted")
    with pytest.raises(SegframeError, match="began with others in test.\n.*folds back as it was"):
        run_experiment(plugins, made)
