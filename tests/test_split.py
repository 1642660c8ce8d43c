"""segframe.split."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest

from segframe.errors import SegframeError
from segframe.split import check_same, parts

SECTION = {
    "val": "auto",
    "val_fraction": 0.2,
    "train_fraction": 1.0,
    "seed": 0,
    "folds": None,
    "fold": None,
    "repeat": 0,
}


def data(groups=None, rare=(), **sizes):
    """A data set's facts: ids by split, groups of train, masks: `rare` samples show a second class."""
    ids = {split: tuple(f"{split}_{number}" for number in range(size)) for split, size in sizes.items()}
    return SimpleNamespace(
        splits=tuple(ids),
        ids=ids.__getitem__,
        groups=lambda split: groups if groups and split == "train" else ids[split],
        num_classes=2,
        class_names=("background", "rare"),
        read=lambda split, indices: [
            SimpleNamespace(mask=np.full((2, 3), int(index in rare), np.uint8)) for index in indices
        ],
    )


def test_the_files_own_splits_are_taken():
    found = parts(data(train=5, val=2, test=3), SECTION)
    assert {name: (part.split, part.indices) for name, part in found.items()} == {
        "train": ("train", (0, 1, 2, 3, 4)),
        "val": ("val", (0, 1)),
        "test": ("test", (0, 1, 2)),
    }


def test_without_val_a_seeded_part_of_train_is_held_out_and_said(caplog):
    caplog.set_level(logging.INFO, "segframe")
    first, again = parts(data(train=10, test=1), SECTION), parts(data(train=10, test=1), SECTION)
    assert first == again
    assert len(first["val"].ids) == 2 and len(first["train"].ids) == 8
    assert set(first["val"].ids).isdisjoint(first["train"].ids)
    assert "2 of train's 10 samples are held out" in caplog.text
    others = [parts(data(train=10, test=1), SECTION | {"seed": seed})["val"].ids for seed in range(5)]
    assert len(set(others)) > 1


def test_groups_stay_together():
    groups = tuple("aabbccddee")
    found = parts(data(groups=groups, train=10), SECTION | {"val_fraction": 0.4})
    held = {groups[index] for index in found["val"].indices}
    assert held.isdisjoint(groups[index] for index in found["train"].indices)
    assert len(found["val"].indices) == 4


def test_val_none_trains_on_all_of_train_and_says_so(caplog):
    caplog.set_level(logging.INFO, "segframe")
    found = parts(data(train=10, val=3, test=1), SECTION | {"val": "none"})
    assert set(found) == {"train", "test"} and len(found["train"].ids) == 10
    assert "all 10 samples" in caplog.text and "val split (3 samples) is not used" in caplog.text


def test_one_sample_cannot_be_held_out():
    with pytest.raises(SegframeError, match="at least two groups.*\n.*split.val=none"):
        parts(data(train=1), SECTION)


def test_data_without_train_are_refused():
    with pytest.raises(SegframeError, match="a split named train, got test"):
        parts(data(test=3), SECTION)


def test_each_fold_holds_out_other_samples_so_that_all_train_in_some():
    found = [
        parts(data(train=20, test=1), SECTION | {"folds": 5, "fold": fold})["val"].ids for fold in range(5)
    ]
    assert len(set(found)) == 5
    assert len(set().union(*found)) > 10


@pytest.mark.parametrize("kind", ["ids", "groups"])
def test_a_sample_or_group_in_two_splits_is_an_error_with_its_name(kind):
    names = {"train": ("a", "b", "c"), "test": ("d", "b")}
    own = {split: tuple(f"{split}{i}" for i in range(len(found))) for split, found in names.items()}
    found = SimpleNamespace(splits=("train", "test"), ids=own.__getitem__, groups=own.__getitem__)
    parts(found, SECTION)
    setattr(found, kind, names.__getitem__)
    with pytest.raises(SegframeError, match=f"the data set's {kind}: expected .*got 'b' in train and test"):
        parts(found, SECTION)


def test_a_run_that_began_with_other_samples_does_not_go_on():
    chosen = parts(data(train=5, val=2), SECTION)
    began = {name: list(part.ids) for name, part in chosen.items()}
    check_same(chosen, began, "here")
    for other in (began | {"val": ["x", "y"]}, began | {"test": ["x"]}, {"train": began["train"]}):
        with pytest.raises(SegframeError, match="here: .* with others in (val|test)"):
            check_same(chosen, other, "here")


def test_a_share_of_the_training_samples_trains_nested_and_said(caplog):
    caplog.set_level(logging.INFO, "segframe")
    found = {
        fraction: parts(data(train=50, test=5), SECTION | {"train_fraction": fraction})
        for fraction in (0.1, 0.25, 0.5, 1.0)
    }
    assert [len(of["train"].ids) for of in found.values()] == [4, 10, 20, 40]
    assert "split.train_fraction=0.25: 10 of the 40 training samples train (split.seed=0)" in caplog.text
    for less, more in zip(list(found.values()), list(found.values())[1:], strict=False):
        assert set(less["train"].ids) < set(more["train"].ids)
        assert less["val"] == more["val"] and less["test"] == more["test"]
        assert less["train"].whole == found[1.0]["train"].ids
    assert found[1.0]["train"].whole is None
    part = found[0.25]["train"]
    assert part.ids == tuple(f"train_{index}" for index in part.indices)
    other = parts(data(train=50, test=5), SECTION | {"train_fraction": 0.25, "seed": 1})
    assert other["train"].ids != part.ids


def test_a_share_keeps_groups_whole_and_one_without_any_is_an_error():
    groups = tuple("a" * 6 + "b" * 6 + "c" * 6)
    section = SECTION | {"val": "none"}
    found = parts(data(groups=groups, train=18), section | {"train_fraction": 0.34})["train"]
    assert len({groups[index] for index in found.indices}) == 1 and len(found.ids) == 6
    with pytest.raises(
        SegframeError, match="split.train_fraction: expected .*18 training samples.*got 0.1, 2"
    ):
        parts(data(groups=groups, train=18), section | {"train_fraction": 0.1})


def test_a_class_that_the_share_lost_is_named(caplog):
    section = SECTION | {"val": "none", "train_fraction": 0.1}
    parts(data(train=20, rare=range(10)), section)
    assert "None of them" not in caplog.text
    assert 5 not in parts(data(train=20, rare=(5,)), section)["train"].indices
    assert "None of them shows rare, which others do" in caplog.text
