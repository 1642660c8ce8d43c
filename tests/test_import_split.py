"""Splits of an import: the sizes asked for, whole groups, classes spread evenly, the same in any order."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segframe.errors import SegframeError
from segframe.plugins.import_split import read_groups, split_samples

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}


def alone(classes):
    return {name: name for name in classes}


@settings(max_examples=60, deadline=None)
@given(
    classes=st.dictionaries(
        st.text(min_size=1, max_size=5), st.sets(st.integers(0, 6)), min_size=3, max_size=40
    ),
    seed=st.integers(0, 3),
    data=st.data(),
)
def test_any_set_is_split_completely_and_alike_in_any_order(classes, seed, data):
    groups = {name: data.draw(st.sampled_from("abcdefgh")) for name in classes}
    if len(set(groups.values())) < 3:
        with pytest.raises(SegframeError, match="at least one group in each split"):
            split_samples(classes, groups, SHARES, seed)
        return
    splits = split_samples(classes, groups, SHARES, seed)
    assert set(splits) == set(classes) and set(splits.values()) == set(SHARES)
    assert all(len({splits[n] for n in classes if groups[n] == group}) == 1 for group in set(groups.values()))
    shuffled = dict(reversed(classes.items()))
    assert split_samples(shuffled, groups, SHARES, seed) == splits


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(3, 60), shares=st.sampled_from([(0.7, 0.1, 0.2), (0.8, 0.1, 0.1), (0.5, 0.25, 0.25)])
)
def test_single_samples_give_the_sizes_asked_for(count, shares):
    fractions = dict(zip(SHARES, shares, strict=True))
    classes = {f"s{index}": {index % 5} for index in range(count)}
    met = Counter(split_samples(classes, alone(classes), fractions, 0).values())
    for split in ("val", "test"):
        assert met[split] == max(1, round(fractions[split] * count))


def test_a_rare_class_is_in_every_split_where_chance_would_leave_it_out():
    classes = {f"s{index}": {0, 1} | ({2} if index < 5 else set()) for index in range(100)}
    by_chance = []
    for seed in range(20):
        splits = split_samples(classes, alone(classes), SHARES, seed)
        rare = Counter(splits[f"s{index}"] for index in range(5))
        assert rare["train"] in (3, 4) and rare["test"] == 1 and rare["train"] + rare["val"] == 4
        order = np.random.default_rng(seed).permutation(100)
        by_chance.append(len(set(range(5)) & set(order[80:].tolist())))
    assert min(by_chance) == 0  # what the stratification is for
    assert split_samples(classes, alone(classes), SHARES, 0) != split_samples(
        classes, alone(classes), SHARES, 1
    )


def test_groups_keep_the_shares_about_as_well_as_they_can():
    rng = np.random.default_rng(0)
    classes = {
        f"p{patient}-{number}": {0, patient % 3}
        for patient in range(40)
        for number in range(rng.integers(1, 9))
    }
    groups = {name: name.split("-")[0] for name in classes}
    met = Counter(split_samples(classes, groups, SHARES, 0).values())
    for split, share in SHARES.items():
        assert abs(met[split] / len(classes) - share) < 0.05


def test_a_share_of_0_gives_no_split():
    classes = {f"s{index}": {0} for index in range(4)}
    assert set(
        split_samples(classes, alone(classes), {"train": 1.0, "val": 0.0, "test": 0.0}, 0).values()
    ) == {"train"}


def test_groups_by_expression_and_by_file(tmp_path):
    names = ["p1_a", "p1_b", "p22_a"]
    assert read_groups("^(p[0-9]+)_", names) == {"p1_a": "p1", "p1_b": "p1", "p22_a": "p22"}
    (tmp_path / "g.csv").write_text("sample,group\np1_a,x\np1_b,y\np22_a,x\n")
    assert read_groups(str(tmp_path / "g.csv"), names) == {"p1_a": "x", "p1_b": "y", "p22_a": "x"}
    with pytest.raises(SegframeError, match="1 without: q"):
        read_groups("^(p[0-9]+)_", [*names, "q"])
    with pytest.raises(SegframeError, match="1 without: q"):
        read_groups(str(tmp_path / "g.csv"), [*names, "q"])
    for wrong in ("p[0-9]+", "(", str(tmp_path / "nowhere.csv")):
        with pytest.raises(SegframeError, match="a regular expression|a CSV file"):
            read_groups(wrong, names)
    (tmp_path / "twice.csv").write_text("p1_a,x\np1_a,y\n")
    with pytest.raises(SegframeError, match="one line sample,group for each"):
        read_groups(str(tmp_path / "twice.csv"), names)
