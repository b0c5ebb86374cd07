import numpy as np
import pytest

from dpbench.metrics.statistics import bootstrap_ratios, spread


def test_spread_is_median_and_quartiles():
    got = spread([5.0, 1.0, 2.0, 3.0, 4.0])
    assert (got.quartile_low, got.median, got.quartile_high) == (2.0, 3.0, 4.0)
    assert got.ci_low <= got.median <= got.ci_high
    assert got.interquartile_range == 2.0


def test_one_outlier_moves_the_mean_but_not_the_median():
    assert spread([1.0, 1.0, 1.0, 1.0, 100.0]).median == 1.0


def test_a_fixed_seed_gives_a_fixed_interval():
    samples = np.random.default_rng(0).normal(size=9).tolist()
    assert spread(samples) == spread(samples)
    assert spread(samples, seed=1) != spread(samples)


def test_no_sample_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        spread([])


def test_bootstrap_interval_covers_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(11)
    hits = 0
    for _ in range(200):
        sample = rng.exponential(size=(60, 1))
        low, high = bootstrap_ratios(sample, np.ones_like(sample))
        hits += int(low[0] <= 1.0 <= high[0])
    assert 0.87 <= hits / 200 <= 0.99
