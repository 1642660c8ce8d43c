"""The intervals and differences of benchmarks/study_report.py against SciPy's tests and numbers by hand."""

import math

import numpy as np
import pytest
from scipy import stats
from study_report import interval, paired, report


def run(recipe, seed, iou, hd95=None, grid="losses", **more):
    scores = {"test/iou": iou, "test/hd95": hd95}
    name = f"{grid}-cars-{recipe}-{seed}"
    entry = {"name": name, "grid": grid, "data": "cars", "recipe": recipe, "seed": seed, "scores": scores}
    return {**entry, "test_at": {}, **more}


@pytest.mark.parametrize("count", [2, 3, 8])
def test_the_interval_is_that_of_the_t_test(count):
    values = np.random.default_rng(count).normal(0.9, 0.02, count)
    mean, half = interval(list(values))
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (mean - half, mean + half) == pytest.approx(tuple(expected), rel=1e-12)


def test_with_three_seeds_it_is_4_303_standard_errors():
    mean, half = interval([0.8, 0.9, 1.0])
    assert (mean, half) == pytest.approx((0.9, 4.303 * 0.1 / math.sqrt(3)), rel=1e-4)
    assert math.isnan(interval([0.8])[1])


def test_differences_are_of_the_same_seed():
    base = [run("a", seed, iou) for seed, iou in ((0, 0.5), (1, 0.7), (3, 0.1))]
    other = [run("b", seed, iou) for seed, iou in ((1, 0.8), (0, 0.4), (2, 0.9))]
    assert paired(other, base, "test/iou") == pytest.approx([0.1, -0.1])
    assert paired(other, base, "test/hd95") == []  # not defined in any run
    base, other = [{**r, "recipe": "cross_entropy"} for r in base], [{**r, "recipe": "b"} for r in other]
    assert "| `b` | 2 | +0.0000 (" in report({"runs": base + other})  # two pairs of three runs


def test_the_report_has_means_intervals_and_differences():
    runs = [run("cross_entropy", seed, 0.80 + 0.01 * seed, 9.0) for seed in range(3)]
    runs += [run("distance_aware", seed, 0.90 + 0.01 * seed + 0.001 * (seed == 1), 8.0) for seed in range(3)]
    text = report({"runs": runs, "failed": [], "missing": ["losses-cars-dice-0"]})
    assert "| | seeds | IoU | HD95 (px) |" in text  # no column of what no run has
    assert "| `cross_entropy` | 3 | 0.8100 ± 0.0248 | 9.00 |" in text
    low, high = stats.ttest_1samp([0.1, 0.101, 0.1], 0).confidence_interval(0.95)
    assert f"| `distance_aware` | 3 | +0.1003 (+{low:.4f} to +{high:.4f}) * |" in text
    assert "Not run: losses-cars-dice-0" in text


def test_a_difference_whose_interval_has_0_in_it_has_no_star():
    runs = [run("cross_entropy", seed, 0.8) for seed in range(3)]
    runs += [run("distance_aware", seed, 0.8 + 0.01 * (seed - 0.5)) for seed in range(3)]
    row = next(line for line in report({"runs": runs}).splitlines() if "(-" in line)
    assert "`distance_aware`" in row and "*" not in row


def test_scores_at_epochs_and_costs_have_tables_of_their_own():
    at = {"30": {"iou": 0.5}, "60": {"iou": 0.6}}
    text = report({"runs": [run("adam", 0, 0.7, grid="cars", test_at=at)]})
    assert "Test after epoch 60:" in text and "| `adam` | 1 | 0.6000 |" in text
    measured = {"checkerboard": {"period2_share": 0.25}, "parameters": 1234}
    text = report({"runs": [run("nearest", 0, 0.7, grid="upsampling", **measured)]})
    assert "| `nearest` | 1 | 1234 | 0.25 |" in text
