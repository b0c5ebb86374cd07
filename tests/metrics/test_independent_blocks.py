import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpbench.metrics.blocks import (
    FEWEST_BLOCKS,
    Series,
    correlation_time,
    estimate,
    make_blocks,
)
from dpbench.metrics.rows import lay_rows
from dpbench.metrics.student import two_sided_p, two_sided_quantile
from tests.metrics.correlated_errors import forgetful, series_of

TIME = 20
"""Frames in which errors are forgotten; they are worth 2 * TIME + 1 each."""

ONE = np.zeros(4000, np.int64)


def coverage(draws, truth: float, *, root: bool) -> float:
    """Share of the intervals that hold the truth, of those that there are."""
    found = [estimate([series_of(errors, root=root)]).interval for errors in draws]
    held = [low <= truth <= high for low, high in filter(None, found)]
    assert len(held) > 0.9 * len(draws)
    return sum(held) / len(held)


@pytest.mark.parametrize("shape", [(1, 1500), (4, 400)])
def test_intervals_of_correlated_errors_hold_the_truth(shape):
    """L3: 500 draws of AR(1) errors with correlation time 20, of a biased model."""
    draws = forgetful(np.random.default_rng(1), (500, *shape), TIME) + 10
    assert 0.90 <= coverage(draws, 10.0, root=False) <= 0.98


@pytest.mark.parametrize("shape", [(1, 1500), (20, 100)])
def test_intervals_of_an_rmse_hold_the_truth(shape):
    """L3: the same for the RMSE of a model without bias."""
    draws = forgetful(np.random.default_rng(2), (250, *shape), TIME)
    assert 0.90 <= coverage(draws, 1.0, root=True) <= 0.98


def test_frames_taken_for_independent_would_flatter():
    """The fault that the blocks are against: it must show in the coverage."""
    held = 0
    for errors in forgetful(np.random.default_rng(3), (200, 2000), TIME) + 10:
        error = errors.std() / math.sqrt(len(errors))
        held += abs(errors.mean() - 10) < 1.96 * error
    assert held / 200 < 0.6


def test_the_correlation_time_of_a_known_series_is_found():
    rng = np.random.default_rng(4)
    found = [correlation_time(x, ONE) for x in forgetful(rng, (20, 4000), TIME)]
    assert np.median(found) == pytest.approx(2 * TIME, rel=0.2)
    white = [correlation_time(rng.normal(size=4000), ONE) for _ in range(20)]
    assert np.median(white) == pytest.approx(1, abs=0.2)


def test_one_wild_frame_does_not_hide_the_memory():
    series = forgetful(np.random.default_rng(5), (4000,), TIME)
    series[1000] = 1e4
    assert correlation_time(series, ONE) > TIME


def test_lags_never_cross_from_one_trajectory_to_the_next():
    """Two runs that differ in their level are not a memory."""
    rng = np.random.default_rng(6)
    series = rng.normal(size=400) + np.repeat([0.0, 50.0], 200)
    two = np.repeat([0, 1], 200)
    assert correlation_time(series, two) < 3
    assert correlation_time(series, np.zeros(400, int)) > 50


def test_blocks_are_at_least_twice_the_correlation_time_and_hold_one_trajectory():
    errors = forgetful(np.random.default_rng(7), (3, 1000), TIME)
    series = series_of(errors)
    blocks = make_blocks(
        [series.influence()], series.trajectory, weight=series.denominator
    )
    sizes = np.bincount(blocks.of_row)
    assert sizes.min() >= 2 * blocks.correlation_time
    assert len(sizes) == blocks.count
    for block in range(blocks.count):
        assert len(np.unique(series.trajectory[blocks.of_row == block])) == 1


def test_many_trajectories_are_blocks_as_they_are():
    blocks = make_blocks([], np.repeat(np.arange(12), 7), weight=np.ones(84))
    assert blocks.of_row.tolist() == np.repeat(np.arange(12), 7).tolist()
    assert blocks.independent == 12


def test_one_long_run_beside_single_frames_is_not_many():
    """Blocks of very different weight are worth fewer equal ones."""
    trajectory = np.concatenate([np.zeros(500, int), np.arange(1, 13)])
    rng = np.random.default_rng(8)
    series = rng.normal(size=512)
    blocks = make_blocks([series], trajectory, weight=np.ones(512))
    assert math.isfinite(blocks.correlation_time)
    assert blocks.independent > 12


def test_below_five_blocks_there_is_no_interval():
    """L3: the value stands, its interval does not, and the number of blocks is told."""
    errors = forgetful(np.random.default_rng(9), (150,), TIME) + 10
    found = estimate([series_of(errors)])
    assert found.nblocks < FEWEST_BLOCKS
    assert found.interval is None
    assert found.value == pytest.approx(np.abs(errors).mean())


def test_an_infinite_error_leaves_no_interval():
    errors = np.random.default_rng(10).normal(size=100)
    errors[3] = np.inf
    found = estimate([series_of(errors)])
    assert found.value == math.inf
    assert found.interval is None


def test_no_label_leaves_no_value():
    nothing = Series(
        numerator=np.zeros(9), denominator=np.zeros(9), trajectory=np.zeros(9, int)
    )
    assert estimate([nothing]).value is None


def test_intervals_over_seeds_hold_the_truth():
    """Frames and trainings both vary; three seeds are few, and the interval knows."""
    rng = np.random.default_rng(11)
    held = 0
    for errors in forgetful(rng, (120, 4, 500), TIME):
        seeds = [series_of(10 + errors + rng.normal(0, 0.5)) for _ in range(3)]
        low, high = estimate(seeds).interval
        held += low <= 10 <= high
    assert held / 120 >= 0.90


def test_two_seeds_have_no_interval():
    errors = np.random.default_rng(12).normal(size=100)
    assert estimate([series_of(errors), series_of(errors + 1)]).interval is None


def test_students_t_is_that_of_the_tables():
    """Source: the NIST/SEMATECH handbook, table of critical values of t."""
    assert two_sided_quantile(0.05, 1.0) == pytest.approx(12.706, abs=1e-3)
    assert two_sided_quantile(0.05, 10.0) == pytest.approx(2.228, abs=1e-3)
    assert two_sided_quantile(0.01, 4.0) == pytest.approx(4.604, abs=1e-3)
    assert two_sided_quantile(0.05, 1e6) == pytest.approx(1.960, abs=1e-3)
    assert two_sided_p(math.inf, 3.0) == 0.0


@given(t=st.floats(0, 50), dof=st.floats(1, 500))
def test_students_t_agrees_with_scipy(t, dof):
    scipy_stats = pytest.importorskip("scipy.stats")
    expected = 2 * scipy_stats.t.sf(t, dof)
    assert two_sided_p(t, dof) == pytest.approx(expected, rel=1e-9, abs=1e-300)


@settings(max_examples=50)
@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=40), most=st.just(30))
def test_rows_are_bounded_and_never_hold_two_trajectories(lengths, most):
    trajectory = np.repeat(np.arange(len(lengths)), lengths)
    rows = lay_rows(trajectory, most=most)
    assert rows.count <= most
    assert sum(rows.lengths) == len(trajectory)
    assert (np.diff(rows.of_frame) >= 0).all()
    assert rows.of_frame.max() == rows.count - 1
    if len(lengths) <= most:
        assert list(rows.lengths) == lengths
        assert rows.trajectory[rows.of_frame].tolist() == trajectory.tolist()
