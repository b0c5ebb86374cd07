import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpbench.metrics.statistics import (
    Interval,
    blocks_of_groups,
    bootstrap_ratios,
    rank_with_ties,
    spread,
)


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


def test_blocks_never_hold_two_groups_and_grow_with_the_square_root():
    group = np.repeat([7, 3, 9], [25, 1, 8])
    block = blocks_of_groups(group)
    for label in np.unique(block):
        assert len(np.unique(group[block == label])) == 1
    assert np.bincount(block[:25] - block[:25].min()).tolist() == [5] * 5
    assert np.bincount(block[26:] - block[26:].min()).tolist() == [3, 3, 2]


def test_blocks_keep_the_interval_honest_along_a_trajectory():
    """Neighbouring frames are alike: to take each for itself would flatter."""
    rng = np.random.default_rng(5)
    hits = {"blocks": 0, "frames": 0}
    for _ in range(50):
        noise = rng.normal(size=400)
        series = np.zeros(400)
        for i in range(1, 400):
            series[i] = 0.8 * series[i - 1] + noise[i]
        for name, block in (
            ("blocks", blocks_of_groups(np.zeros(400, int))),
            ("frames", np.arange(400)),
        ):
            sums = np.bincount(block, weights=series + 10.0)[:, None]
            low, high = bootstrap_ratios(sums, np.bincount(block)[:, None] * 1.0)
            hits[name] += int(low[0] <= 10.0 <= high[0])
    assert hits["blocks"] / 50 > 0.8
    assert hits["frames"] / 50 < 0.65


INTERVALS = st.lists(
    st.tuples(st.floats(0, 10), st.floats(0, 2), st.floats(0, 2)).map(
        lambda t: Interval(value=t[0], low=t[0] - t[1], high=t[0] + t[2])
    ),
    min_size=2,
    max_size=8,
)


@given(values=INTERVALS, data=st.data())
def test_taking_one_out_never_turns_two_others_around(values, data):
    gone = data.draw(st.integers(0, len(values) - 1))
    before = rank_with_ties(values)
    rest = [i for i in range(len(values)) if i != gone]
    after = rank_with_ties([values[i] for i in rest])
    for a, rank_a in zip(rest, after, strict=True):
        for b, rank_b in zip(rest, after, strict=True):
            if before[a] < before[b]:
                assert rank_a <= rank_b


def test_overlapping_intervals_share_a_rank():
    values = [
        Interval(value=3.0, low=2.9, high=3.1),
        Interval(value=1.0, low=0.9, high=1.2),
        Interval(value=1.1, low=1.0, high=1.3),
    ]
    assert rank_with_ties(values) == (3, 1, 1)
