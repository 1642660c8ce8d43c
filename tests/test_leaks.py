"""segframe.plugins.leaks: nearly the same image in two parts of a run is a warning with both ids."""

import logging

import h5py
import numpy as np
import pytest

from segframe.catalog import build
from segframe.experiment import run_experiment
from segframe.folds import seen_as_fold
from segframe.plugins import leaks
from segframe.split import parts


@pytest.fixture
def twins(squares):
    """test-1 is a brighter train-2; train-3 is train-4, which is no leak. Smooth as photographs."""
    random = np.random.default_rng(1)
    with h5py.File(squares, "r+") as file:
        for split in ("train", "val", "test"):
            coarse = random.random((len(file[f"{split}/images"]), 5, 6))
            smooth = np.kron(coarse, np.ones((4, 4)))[:, :17, :23]
            file[f"{split}/images"][...] = (40 + 170 * smooth)[..., None].astype(np.uint8)
        images = file["train/images"][:]
        file["test/images"][1] = np.clip(images[2] * 1.05 + 3, 0, 255).astype(np.uint8)
        file["train/images"][3] = images[4]
    return squares


def test_a_run_warns_before_it_trains(plugins, config, twins, own_cache, caplog):
    result = run_experiment(plugins, config("train.epochs=1"))
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    (warning,) = [told for told in warnings if "threads" not in told]  # of this process's TensorFlow
    assert "test 'test-1' and train 'train-2' (" in warning and "'train-3'" not in warning
    assert warning in (own_cache.parent / result.out_dir / "run.log").read_text()


def test_the_images_are_compared_once_whatever_the_fold(plugins, config, twins, own_cache):
    made = config("split.folds=3", "split.fold=0", "split.fold_splits=[train,val,test]", "split.val=none")
    dataset = build(plugins, "dataset", made["dataset"])
    found = {}
    for fold in range(3):
        view = seen_as_fold(dataset, made | {"split": made["split"] | {"fold": fold}})
        if fold:
            view.read = None  # what is known is not read again
        chosen = parts(view, made["split"])
        tested = set(chosen["test"].ids)
        found[fold] = [(pair.first, pair.second) for pair in leaks.warn_of_leaks(view, chosen)]
        for pair in (("test-1", "train-2"), ("train-3", "train-4")):
            assert (pair in found[fold]) == (len(tested & set(pair)) == 1)
    assert any(found.values()) and len(list((own_cache / "near_duplicates").iterdir())) == 1


def test_a_damaged_memory_is_made_anew_and_stopping_stops(plugins, config, twins, own_cache):
    made = config()
    dataset = build(plugins, "dataset", made["dataset"])
    chosen = parts(dataset, made["split"])

    def leave():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leaks.warn_of_leaks(dataset, chosen, leave)
    first = leaks.warn_of_leaks(dataset, chosen)
    (memory,) = (own_cache / "near_duplicates").iterdir()
    memory.write_text("[[1")
    assert leaks.warn_of_leaks(dataset, chosen) == first and len(first) == 1


def test_too_many_images_to_compare_is_said(plugins, config, twins, caplog, monkeypatch):
    monkeypatch.setattr(leaks, "MOST_IMAGES", 11)
    caplog.set_level(logging.INFO, "segframe")
    made = config()
    dataset = build(plugins, "dataset", made["dataset"])
    assert leaks.warn_of_leaks(dataset, parts(dataset, made["split"])) == []
    assert "12 images are not compared with each other (more than 11)" in caplog.text
