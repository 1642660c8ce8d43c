"""segframe.fold_table: written once, read by every run, believed only if it is what was written."""

import hashlib
import json
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import numpy as np
import pytest

from segframe.dataset import IGNORED, Sample
from segframe.errors import SegframeError
from segframe.fold_table import fold_table

SECTION = {"folds": 3, "repeat": 0, "seed": 0, "fold_splits": ["train", "val"]}


def data(content_hash="a", groups=None, **sizes):
    """Masks of 4 x 4; every third sample of train shows class 2, none shows class 3."""
    ids = {split: tuple(f"{split}_{number}" for number in range(size)) for split, size in sizes.items()}

    def read(split, indices):
        masks = [np.full((4, 4), IGNORED, np.uint8) for _ in indices]
        for mask, index in zip(masks, indices, strict=True):
            mask[0] = (0, 1, 1, 2 if split == "train" and index % 3 == 0 else 0)
        return [Sample(mask[..., None], mask) for mask in masks]

    return SimpleNamespace(
        content_hash=content_hash, splits=tuple(ids), ids=ids.__getitem__, read=read, num_classes=4,
        class_names=("background", "a", "b", "c"),
        groups=lambda split: groups if groups and split == "train" else ids[split],
    )  # fmt: skip


def files(folder):
    return sorted(folder.glob("folds/*.json"))


def test_all_samples_of_the_splits_are_dealt_and_the_test_split_is_not(tmp_path):
    table = fold_table(data(train=9, val=4, test=5), SECTION, tmp_path)
    dealt = [name for fold in table["test"] for name in fold]
    assert sorted(dealt) == sorted([f"train_{i}" for i in range(9)] + [f"val_{i}" for i in range(4)])
    assert sorted(map(len, table["test"])) == [4, 4, 5] and table["splits"] == ["train", "val"]
    assert table["samples_with"] == {
        "background": [len(fold) for fold in table["test"]],
        "a": [len(fold) for fold in table["test"]],
        "b": [1, 1, 1],
        "c": [0, 0, 0],
    }
    everything = fold_table(
        data(train=9, val=4, test=5), SECTION | {"fold_splits": ["train", "val", "test"]}, tmp_path
    )
    assert sum(map(len, everything["test"])) == 18


def test_it_is_written_once_and_read_then(tmp_path):
    first = fold_table(data(train=9), SECTION, tmp_path)
    (file,) = files(tmp_path)
    before = file.stat().st_mtime_ns
    found = data(train=9)
    found.read = None  # no mask is looked at again
    assert fold_table(found, SECTION, tmp_path) == first
    assert file.stat().st_mtime_ns == before and files(tmp_path) == [file]


def test_a_table_of_another_algorithm_is_kept(tmp_path):
    """What runs of before were on goes on, whatever a new segframe would deal."""
    made = fold_table(data(train=6), SECTION, tmp_path)
    (file,) = files(tmp_path)
    older = {key: value for key, value in made.items() if key != "sha256"} | {"algorithm": 0}
    older["test"] = older["test"][::-1]
    digest = hashlib.sha256(json.dumps(older, sort_keys=True).encode()).hexdigest()
    file.write_text(json.dumps({**older, "sha256": digest}))
    assert fold_table(data(train=6), SECTION, tmp_path)["test"] == made["test"][::-1]


@pytest.mark.parametrize(
    "change", [{"repeat": 1}, {"seed": 1}, {"folds": 2}, {"fold_splits": ["train"]}, {"data": "b"}], ids=str
)
def test_other_data_or_settings_are_another_table(tmp_path, change):
    first = fold_table(data(train=12, val=3), SECTION, tmp_path)
    settings = SECTION | {key: value for key, value in change.items() if key != "data"}
    other = fold_table(data(change.get("data", "a"), train=12, val=3), settings, tmp_path)
    assert len(files(tmp_path)) == 2
    assert (other["test"] == first["test"]) == ("data" in change)  # the deal goes by the names


@pytest.mark.parametrize("spoil", ["moved", "cut", "text", "other data"])
def test_what_was_changed_is_not_believed(tmp_path, spoil):
    fold_table(data(train=9), SECTION, tmp_path)
    (file,) = files(tmp_path)
    table = json.loads(file.read_text())
    if spoil == "moved":
        table["test"][0].append(table["test"][1].pop())
        file.write_text(json.dumps(table))
    elif spoil == "cut":
        file.write_bytes(file.read_bytes()[:-20])
    elif spoil == "text":
        file.write_text("[]")
    ids = data(train=8 if spoil == "other data" else 9)
    with pytest.raises(
        SegframeError, match=rf"{file.name}: expected the folds .*changed or damaged.*\n.*delete"
    ):
        fold_table(ids, SECTION, tmp_path)


def test_too_few_groups_and_a_folder_that_cannot_be_written_are_said(tmp_path):
    with pytest.raises(SegframeError, match="split.folds: expected at most 2, the number of groups in train"):
        fold_table(data(groups=tuple("aaabbb"), train=6), SECTION, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(SegframeError, match="a place to keep the folds.*\n.*runs_dir=PATH"):
        fold_table(data(train=6), SECTION, tmp_path / "file")


def test_processes_that_start_together_read_one_table(tmp_path):
    script = textwrap.dedent(
        f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(__file__).rsplit("/", 1)[0]!r})
        from test_fold_table import SECTION, data
        from segframe.fold_table import fold_table
        print(fold_table(data(train=60), SECTION, Path({str(tmp_path)!r}))["sha256"])
        """
    )
    started = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    told = {process.communicate()[0] for process in started}
    assert len(told) == 1 and len(told.pop()) == 65 and len(files(tmp_path)) == 1
