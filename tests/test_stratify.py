"""segframe.stratify: groups whole, folds of equal size, rare classes spread."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from segframe.stratify import deal, even_sizes, share


def into(labels, groups, folds, key):
    return deal(labels, groups, even_sizes(len(labels), folds), key)


def alone(samples):
    return [f"s{number}" for number in range(samples)]


@given(st.integers(2, 7), st.integers(0, 40), st.integers(0, 4), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_without_groups_sizes_differ_by_one_at_most_whatever_is_shown(folds, more, classes, seed):
    random = np.random.default_rng(seed)
    labels = random.random((folds + more, classes)) < random.random(classes)
    found = into(labels, alone(len(labels)), folds, str(seed))
    sizes = np.bincount(found, minlength=folds)
    assert len(sizes) == folds and sizes.max() - sizes.min() <= 1


@given(st.integers(2, 5), st.integers(0, 20), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_groups_stay_whole_and_no_fold_is_empty(folds, more, seed):
    random = np.random.default_rng(seed)
    groups = np.repeat(alone(folds + more), random.integers(1, 9, size=folds + more))
    found = into(random.random((len(groups), 3)) < 0.3, groups, folds, "0")
    assert set(found) == set(range(folds))
    for group in set(groups):
        assert len(set(found[groups == group])) == 1


def test_a_class_that_few_samples_show_is_spread():
    """5 of 50 samples show it: by chance alone they lie in 5 folds once in 21 deals."""
    for seed in range(20):
        random = np.random.default_rng(seed)
        labels = np.zeros((50, 3), bool)
        labels[:, 0] = True
        labels[random.choice(50, 5, replace=False), 1] = True
        labels[random.choice(50, 12, replace=False), 2] = True
        found = into(labels, alone(50), 5, "0")
        assert np.bincount(found[labels[:, 1]], minlength=5).tolist() == [1] * 5
        assert sorted(np.bincount(found[labels[:, 2]], minlength=5)) == [2, 2, 2, 3, 3]


def test_it_spreads_as_well_as_scikit_learn_where_that_can_be_asked():
    """One label a sample, groups of 1 to 6: the largest deviation from an even spread, over 30 draws."""
    ours, theirs = [], []
    for seed in range(30):
        random = np.random.default_rng(seed)
        groups = np.repeat(np.arange(40), random.integers(1, 7, size=40))
        label = random.choice(3, size=len(groups), p=[0.7, 0.2, 0.1])
        one_hot = np.eye(3, dtype=bool)[label]
        reference = np.zeros(len(groups), int)
        split = StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(groups, label, groups)
        for fold, (_, test) in enumerate(split):
            reference[test] = fold
        for found, kept in ((into(one_hot, groups.astype(str), 5, str(seed)), ours), (reference, theirs)):
            spread = np.array([np.bincount(found[label == c], minlength=5) for c in range(3)])
            kept.append(np.abs(spread - spread.mean(1, keepdims=True)).mean())
    assert np.mean(ours) <= np.mean(theirs)


def test_the_deal_depends_on_names_and_key_not_on_the_order():
    random = np.random.default_rng(0)
    labels, names = random.random((30, 2)) < 0.4, np.array(alone(30))
    found, order = into(labels, names, 4, "0"), random.permutation(30)
    np.testing.assert_array_equal(into(labels[order], names[order], 4, "0"), found[order])
    assert len({tuple(into(labels, names, 4, str(key))) for key in range(5)}) == 5


@pytest.mark.parametrize(
    "folds, expected", [(2, [0, 0, 1, 1, 1, 1, 0, 0, 1, 0]), (5, [0, 4, 4, 3, 1, 1, 3, 2, 2, 0])]
)
def test_this_deal_stays_as_it_is(folds, expected):
    """Raise stratify.ALGORITHM when it changes: runs of before were on other folds."""
    labels = np.arange(30).reshape(10, 3) % 4 == 0
    assert into(labels, alone(10), folds, "0/0").tolist() == expected


@given(st.lists(st.integers(1, 12), min_size=2, max_size=5), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_parts_of_any_sizes_are_filled_and_have_their_share_of_a_class(sizes, seed):
    labels = np.random.default_rng(seed).random((sum(sizes), 1)) < 0.4
    found = deal(labels, alone(len(labels)), sizes, "0")
    assert np.bincount(found, minlength=len(sizes)).tolist() == sizes
    share = np.array(sizes) * labels.mean()
    assert np.abs(np.bincount(found[labels[:, 0]], minlength=len(sizes)) - share).max() < 1


@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_a_smaller_share_lies_within_a_larger_one_and_groups_stay_whole(count, largest, seed):
    random = np.random.default_rng(seed)
    groups = np.repeat(alone(count), random.integers(1, largest + 1, size=count))
    labels = random.random((len(groups), 3)) < 0.4
    before = np.zeros(len(groups), bool)
    for samples in range(len(groups) + 1):
        found = share(labels, groups.tolist(), samples, "0")
        assert not (before & ~found).any()
        assert all(len(set(found[groups == group])) == 1 for group in set(groups))
        assert abs(int(found.sum()) - samples) <= largest / 2
        before = found
    assert found.all()


def test_a_share_has_its_part_of_a_rare_class():
    """8 of 64 samples show it: a quarter taken by chance has exactly 2 of them 3 times in 10."""
    for seed in range(10):
        labels = np.zeros((64, 2), bool)
        labels[:, 0] = True
        labels[np.random.default_rng(seed).choice(64, 8, replace=False), 1] = True
        counts = [int(labels[share(labels, alone(64), size, str(seed)), 1].sum()) for size in (8, 16, 32)]
        assert counts == [1, 2, 4]


def test_a_share_depends_on_names_and_key_not_on_the_order():
    random = np.random.default_rng(0)
    labels, names = random.random((30, 2)) < 0.4, np.array(alone(30))
    found, order = share(labels, names.tolist(), 9, "0"), random.permutation(30)
    np.testing.assert_array_equal(share(labels[order], names[order].tolist(), 9, "0"), found[order])
    assert len({tuple(share(labels, names.tolist(), 9, str(key))) for key in range(5)}) == 5


def test_this_share_stays_as_it_is():
    """Raise stratify.ALGORITHM when it changes: learning curves of before were on other samples."""
    labels = np.arange(30).reshape(10, 3) % 4 == 0
    assert np.flatnonzero(share(labels, alone(10), 4, "0/train_fraction")).tolist() == [2, 4, 5, 9]
