"""The statistics of a comparison: SciPy's where it has them, imported at the first call.

Resamples of one data set (folds, other held-out images) share training images, so that their scores are not
independent and a plain t-test finds differences that are not there. Nadeau and Bengio 2003,
https://doi.org/10.1023/A:1024068626366, correct the variance of the mean of J of them:

    (1/J + n_eval / n_train) s^2        instead of        s^2 / J

With `ratio` = n_eval / n_train, 0 for independent values (seeds), this is the formula of everything here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

CONFIDENCE, ALPHA, POWER = 0.95, 0.05, 0.8
RESAMPLES = 9999
"""Of the bootstrap."""
LEAST = 3
"""Below so many values nothing is concluded."""


class Interval(NamedTuple):
    """A mean with its confidence interval; what needs two values is None for one."""

    mean: float
    std: float | None
    """With n - 1."""
    low: float | None
    high: float | None
    n: int


class Difference(NamedTuple):
    """A mean difference; None where the values do not spread or are too few."""

    mean: float
    low: float | None
    high: float | None
    p: float | None
    """Two-sided, of no difference."""
    effect: float | None
    """Mean over standard deviation, with Hedges' correction for few values."""
    error: float | None
    """Standard error of the mean."""
    df: float
    n: int
    test: str


def interval(values: Sequence[float], ratio: float = 0.0) -> Interval:
    """Student's t interval of the mean. Without spread it has no width."""
    import numpy as np
    from scipy import stats

    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return Interval(mean, None, None, None, n)
    std = float(np.std(values, ddof=1))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * std * math.sqrt(1 / n + ratio)
    return Interval(mean, std, mean - half, mean + half, n)


def paired(differences: Sequence[float], ratio: float = 0.0) -> Difference:
    """Student's paired t-test; with a ratio, the corrected resampled t-test."""
    import numpy as np
    from scipy import stats

    n, mean = len(differences), float(np.mean(differences))
    test = "corrected resampled t-test" if ratio else "paired t-test"
    std = float(np.std(differences, ddof=1)) if n > 1 else math.nan
    if not std > 1e-12 * max(map(abs, differences)):  # one value, or the same one over and over
        same = not any(differences)
        return Difference(mean, None, None, 1.0 if same and n > 1 else None, None, None, n - 1, n, test)
    error = std * math.sqrt(1 / n + ratio)
    half = error * float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1))
    p = 2 * float(stats.t.sf(abs(mean) / error, n - 1))
    return Difference(mean, mean - half, mean + half, p, _hedges(n - 1) * mean / std, error, n - 1, n, test)


def welch(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """Welch's t-test of two independent samples; effect by the pooled standard deviation."""
    import numpy as np
    from scipy import stats

    mean, n = float(np.mean(ours) - np.mean(theirs)), min(len(ours), len(theirs))
    test, spread = "Welch's t-test", np.var(ours, ddof=1) + np.var(theirs, ddof=1) if n > 1 else 0.0
    if not math.sqrt(spread) > 1e-12 * max(map(abs, [*ours, *theirs])):
        return Difference(mean, None, None, 1.0 if mean == 0 and n > 1 else None, None, None, 0, n, test)
    found = stats.ttest_ind(ours, theirs, equal_var=False)
    limits = found.confidence_interval(CONFIDENCE)
    freedom = len(ours) + len(theirs) - 2
    pooled = math.sqrt(
        ((len(ours) - 1) * np.var(ours, ddof=1) + (len(theirs) - 1) * np.var(theirs, ddof=1)) / freedom
    )
    error = math.sqrt(np.var(ours, ddof=1) / len(ours) + np.var(theirs, ddof=1) / len(theirs))
    return Difference(
        mean,
        float(limits.low),
        float(limits.high),
        float(found.pvalue),
        _hedges(freedom) * mean / pooled,
        error,
        float(found.df),
        n,
        test,
    )


def per_image(differences: Sequence[float]) -> Difference:
    """Wilcoxon's signed-rank test (zeros by Pratt) and the bootstrap's interval (BCa) of the mean.

    Args:
        differences: (images,), of two models on the same images. Images are taken to be independent.
    """
    import numpy as np
    from scipy import stats

    values = np.asarray(differences, np.float64)
    n, mean, test = len(values), float(values.mean()), "Wilcoxon signed-rank, bootstrap"
    if not values.any():
        return Difference(mean, None, None, 1.0, None, None, n - 1, n, test)
    if n < 2 or np.ptp(values) <= 1e-12 * np.abs(values).max():
        return Difference(mean, None, None, None, None, None, n - 1, n, test)
    p = float(stats.wilcoxon(values, zero_method="pratt").pvalue)
    found = bootstrap(differences)
    effect = _hedges(n - 1) * mean / float(values.std(ddof=1))
    return Difference(mean, found.low, found.high, p, effect, found.error, n - 1, n, test)


class Bootstrap(NamedTuple):
    low: float
    high: float
    error: float


def bootstrap(values: Sequence[float]) -> Bootstrap:
    """The bootstrap's interval (BCa, RESAMPLES, always the same ones) of the mean."""
    import numpy as np
    from scipy import stats

    found = stats.bootstrap(
        (np.asarray(values, np.float64),),
        np.mean,
        n_resamples=RESAMPLES,
        batch=500,
        confidence_level=CONFIDENCE,
        method="BCa",
        rng=np.random.default_rng(0),
    )
    limits = found.confidence_interval
    return Bootstrap(float(limits.low), float(limits.high), float(found.standard_error))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values of Holm 1979 (https://www.jstor.org/stable/4615733), in the given order.

    The family-wise error is kept however the tests depend on each other. SciPy has no such correction.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def detectable(error: float, df: float, comparisons: int = 1) -> float:
    """The difference that a two-sided t-test finds, and finds the right way round, with probability POWER.

    Args:
        error: standard error of the mean difference, estimated: so is the result.
        comparisons: tests in the family; the level is ALPHA / comparisons, Holm's first step.
    """
    from scipy import optimize, stats

    limit = float(stats.t.isf(ALPHA / comparisons / 2, df))

    def missing(shift: float) -> float:
        return float(stats.nct.sf(limit, df, shift)) - POWER  # noncentral t

    high = limit
    while missing(high) < 0:
        high *= 1.5
    return error * float(optimize.brentq(missing, 0, high))


def _hedges(df: float) -> float:
    """Hedges 1981's factor, which takes the bias out of a standardised difference."""
    return math.exp(math.lgamma(df / 2) - math.lgamma((df - 1) / 2)) / math.sqrt(df / 2) if df > 1 else 1.0
