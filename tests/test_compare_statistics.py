"""The statistics of `compare`: against formulas and SciPy, and in simulated studies whose truth is known.

A simulated rate may miss its nominal value by three standard errors of the simulation.
"""

import math

import numpy as np
import pytest
from scipy import stats

from segframe.plugins import compare_statistics
from segframe.plugins.compare_statistics import (
    ALPHA,
    bootstrap,
    detectable,
    holm,
    interval,
    paired,
    per_image,
    welch,
)

STUDIES = 2000


def margin(rate, studies=STUDIES):
    return 3 * math.sqrt(rate * (1 - rate) / studies)


def resampled(random, count, ratio, studies=STUDIES):
    """(studies, count) scores of resamples, correlated as Nadeau and Bengio take them to be, mean 0."""
    correlation = ratio / (1 + ratio)
    shared = random.normal(0, math.sqrt(correlation), (studies, 1))
    return shared + random.normal(0, math.sqrt(1 - correlation), (studies, count))


def test_the_paired_test_is_scipys():
    random = np.random.default_rng(0)
    ours, theirs = random.normal(0.8, 0.02, 6), random.normal(0.79, 0.02, 6)
    expected = stats.ttest_rel(ours, theirs)
    found = paired(list(ours - theirs))
    limits = expected.confidence_interval(0.95)
    np.testing.assert_allclose((found.p, found.low, found.high), (expected.pvalue, *limits), rtol=1e-9)
    assert found.test == "paired t-test" and found.n == 6 and found.df == 5


def test_the_corrected_test_is_the_papers_formula():
    differences, ratio = np.array([0.01, 0.03, -0.01, 0.02, 0.025]), 0.25
    error = math.sqrt((1 / 5 + ratio) * differences.var(ddof=1))
    found = paired(list(differences), ratio)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(differences.mean()) / error, 4), rel=1e-9)
    half = stats.t.ppf(0.975, 4) * error
    assert (found.low, found.high) == pytest.approx((differences.mean() - half, differences.mean() + half))


def test_welch_is_the_formula():
    ours, theirs = np.array([0.81, 0.84, 0.79, 0.8]), np.array([0.7, 0.78, 0.72])
    a, b = ours.var(ddof=1) / 4, theirs.var(ddof=1) / 3
    df = (a + b) ** 2 / (a**2 / 3 + b**2 / 2)
    found = welch(list(ours), list(theirs))
    assert found.error == pytest.approx(math.sqrt(a + b)) and found.df == pytest.approx(df)
    assert found.p == pytest.approx(2 * stats.t.sf((ours.mean() - theirs.mean()) / math.sqrt(a + b), df))
    assert found.low < 0.0775 < found.high


def test_holm_is_the_published_step_down():
    # R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


def test_the_effect_size_has_hedges_correction():
    differences = [0.1, 0.3, 0.2, 0.25, 0.15, 0.2]
    d = np.mean(differences) / np.std(differences, ddof=1)
    assert paired(differences).effect == pytest.approx(d * (1 - 3 / (4 * 5 - 1)), rel=2e-3)


@pytest.mark.parametrize("same", [[0.0] * 4, [0.1] * 4, [0.25]])
def test_without_spread_there_is_no_test(same):
    found = paired(same)
    assert found.low is None and found.effect is None and found.error is None
    assert found.p == (1.0 if same == [0.0] * 4 else None)


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_the_interval_covers_in_95_of_100_studies(seeds):
    scores = np.random.default_rng(seeds).normal(0.8, 0.03, (STUDIES, seeds))
    found = [interval(list(row)) for row in scores]
    covered = np.mean([one.low <= 0.8 <= one.high for one in found])
    assert covered == pytest.approx(0.95, abs=margin(0.95))


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_the_paired_test_errs_in_5_of_100_studies(seeds):
    differences = np.random.default_rng(seeds).normal(0, 0.02, (STUDIES, seeds))
    wrong = np.mean([paired(list(row)).p < ALPHA for row in differences])
    assert wrong == pytest.approx(0.05, abs=margin(0.05))


@pytest.mark.parametrize(("count", "ratio"), [(5, 0.25), (10, 1 / 9), (15, 0.25)])
def test_over_folds_the_corrected_test_errs_in_5_of_100_studies_and_the_plain_one_more(count, ratio):
    studies = resampled(np.random.default_rng(count), count, ratio)
    wrong = np.mean([paired(list(row), ratio).p < ALPHA for row in studies])
    plain = np.mean(stats.ttest_1samp(studies, 0, axis=1).pvalue < ALPHA)
    assert wrong == pytest.approx(0.05, abs=margin(0.05))
    assert plain > 0.1
    covered = np.mean([one.low <= 0 <= one.high for one in (interval(list(row), ratio) for row in studies)])
    assert covered == pytest.approx(0.95, abs=margin(0.95))


def test_ridge_against_ridge_over_folds_is_not_found_different_too_often():
    """Real learners on real resamples: two linear fits of which neither is better, on data of their own."""
    random, wrong, studies = np.random.default_rng(1), 0, 400
    for _ in range(studies):
        x, noise = random.normal(size=(60, 8)), random.normal(size=60)
        y = x[:, :4].sum(1) + x[:, 4:].sum(1) + noise
        order, differences = random.permutation(60), []
        for fold in np.split(order, 5):
            rest = np.setdiff1d(order, fold)
            errors = []
            for columns in (slice(0, 4), slice(4, 8)):  # half the inputs each: alike by symmetry
                weights, *_ = np.linalg.lstsq(x[rest, columns], y[rest], rcond=None)
                errors.append(np.mean((x[fold, columns] @ weights - y[fold]) ** 2))
            differences.append(errors[0] - errors[1])
        wrong += paired(differences, 12 / 48).p < ALPHA
    assert wrong / studies < 0.05 + margin(0.05, studies)


def test_of_five_equal_recipes_holm_finds_one_better_in_at_most_5_of_100_studies():
    random, studies = np.random.default_rng(2), 600
    first, second = np.triu_indices(5, 1)
    corrected = uncorrected = 0
    for scores in random.normal(0.8, 0.02, (studies, 5, 5)):
        p = [paired(list(scores[i] - scores[j])).p for i, j in zip(first, second, strict=True)]
        corrected += min(holm(p)) < ALPHA
        uncorrected += min(p) < ALPHA
    assert corrected / studies < 0.05 + margin(0.05, studies)
    assert uncorrected / studies > 0.15


@pytest.mark.parametrize(("n", "comparisons"), [(3, 1), (5, 1), (5, 10)])
def test_what_is_called_detectable_is_found_in_4_of_5_studies(n, comparisons):
    least = detectable(0.02 / math.sqrt(n), n - 1, comparisons)
    differences = np.random.default_rng(n).normal(least, 0.02, (STUDIES, n))
    found = np.mean(stats.ttest_1samp(differences, 0, axis=1).pvalue < ALPHA / comparisons)
    assert found == pytest.approx(0.8, abs=margin(0.8))


def test_the_higher_mean_is_often_the_worse_recipe_and_we_do_not_say_otherwise():
    """The first is better by a quarter of the seeds' spread."""
    random = np.random.default_rng(4)
    differences = random.normal(0.005, 0.02 * math.sqrt(2), (STUDIES, 3))
    naive = np.mean(differences.mean(1) < 0)
    found = [paired(list(row)) for row in differences]
    ours = np.mean([one.p < ALPHA and one.mean < 0 for one in found])
    assert naive > 0.3 and ours < 0.025 + margin(0.025)


def seeds_and_images(random, seeds=3, images=40):
    """(seeds, images) scores of one recipe: a run is better or worse as a whole, and images vary."""
    return 0.8 + random.normal(0, 0.02, (seeds, 1)) + random.normal(0, 0.03, (seeds, images))


def test_images_do_not_stand_in_for_runs(monkeypatch):
    """Why recipes are not compared image by image: equal recipes differ significantly, most of the time."""
    monkeypatch.setattr(compare_statistics, "RESAMPLES", 199)
    random, studies = np.random.default_rng(5), 200
    by_image = by_seed = covered = 0
    for _ in range(studies):
        ours, theirs = seeds_and_images(random), seeds_and_images(random)
        by_image += per_image(ours.mean(0) - theirs.mean(0)).p < ALPHA
        by_seed += paired(list(ours.mean(1) - theirs.mean(1))).p < ALPHA
        limits = bootstrap(ours.mean(0))
        covered += limits.low <= 0.8 <= limits.high
    assert by_image / studies > 0.3 and covered / studies < 0.85
    assert by_seed / studies == pytest.approx(0.05, abs=margin(0.05, studies))


@pytest.mark.parametrize("images", [30, 200])
def test_two_models_that_are_alike_are_found_different_in_5_of_100_test_sets(monkeypatch, images):
    monkeypatch.setattr(compare_statistics, "RESAMPLES", 499)
    random, studies = np.random.default_rng(images), 400
    found = [per_image(list(row)) for row in random.normal(0, 0.05, (studies, images))]
    assert np.mean([one.p < ALPHA for one in found]) == pytest.approx(0.05, abs=margin(0.05, studies))
    covered = np.mean([one.low <= 0 <= one.high for one in found])
    # Few images: the bootstrap is a little short, which is why a verdict asks Wilcoxon's test too.
    assert covered == pytest.approx(0.95, abs=margin(0.95, studies) + (0.02 if images < 100 else 0))


@pytest.mark.parametrize(
    ("draw", "told"),
    [
        (lambda random: random.exponential(1, 30) - 1, 0.93),
        (lambda random: random.standard_t(3, 30), 0.90),
        (lambda random: random.lognormal(0, 1, 30) - math.exp(0.5), 0.86),
    ],
    ids=["exponential", "t", "log-normal"],
)
def test_of_30_images_with_long_tails_the_interval_covers_what_the_docs_say(monkeypatch, draw, told):
    monkeypatch.setattr(compare_statistics, "RESAMPLES", 499)
    random, studies = np.random.default_rng(30), 400
    found = [bootstrap(list(draw(random))) for _ in range(studies)]
    covered = np.mean([one.low <= 0 <= one.high for one in found])
    assert covered == pytest.approx(told, abs=margin(told, studies))


def test_the_per_image_test_is_scipys_with_pratts_zeros():
    differences = np.random.default_rng(7).normal(0.01, 0.05, 50).round(2)
    assert (differences == 0).any()
    found = per_image(list(differences))
    assert found.p == stats.wilcoxon(differences, zero_method="pratt").pvalue
    normal = interval(list(differences))
    assert (found.low, found.high) == pytest.approx((normal.low, normal.high), abs=0.002)
    assert found == per_image(list(differences))  # the same resamples each time
