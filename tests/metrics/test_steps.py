"""O5: a slowdown is found where it was planted, and none where there is none."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpbench.metrics.steps import FEW, MOST_POINTS, find_levels, find_regression


def noisy(rng, count, *, noise=0.03):
    return np.exp(rng.normal(0, noise, count))


def test_a_planted_slowdown_is_found_where_it_began_and_with_its_size():
    rng = np.random.default_rng(0)
    for _ in range(10):
        values = noisy(rng, 30)
        values[18:] *= 1.15
        found = find_regression(values)
        assert abs(found.bad - 18) <= 1
        assert found.good == found.bad - 1
        assert found.size == pytest.approx(0.15, abs=0.05)


def test_noise_alone_is_no_regression():
    rng = np.random.default_rng(1)
    assert not any(find_regression(noisy(rng, 30)) for _ in range(20))


def test_a_spike_is_no_regression():
    values = noisy(np.random.default_rng(2), 30)
    values[[7, 20]] *= 3
    assert find_regression(values) is None


def test_what_became_slower_and_was_mended_is_no_regression():
    values = noisy(np.random.default_rng(3), 45)
    values[15:30] *= 1.5
    assert find_regression(values) is None
    assert [level.start for level in find_levels(values)] == [0, 15, 30]


def test_a_gain_that_is_lost_again_is_a_regression():
    """The best level counts, not the first."""
    values = noisy(np.random.default_rng(4), 45)
    values[15:30] /= 1.5
    assert find_regression(values).bad == 30


def test_of_frames_per_second_more_is_better():
    values = 1000 * noisy(np.random.default_rng(5), 30)
    values[18:] /= 1.3
    assert find_regression(values, higher_is_better=True).bad == 18
    assert find_regression(values) is None


def test_of_few_points_only_a_quarter_counts():
    assert len([1.0, 1.0, 1.2]) < FEW
    assert find_regression([1.0, 1.0, 1.2]) is None
    found = find_regression([1.0, 1.0, 1.4])
    assert (found.good, found.bad) == (1, 2)
    assert find_regression([1.0]) is None


def test_only_the_end_of_a_very_long_series_is_looked_at():
    values = np.ones(MOST_POINTS + 50)
    values[-20:] = 1.2
    found = find_regression(values)
    assert found.bad == MOST_POINTS + 30


def test_what_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="positive"):
        find_levels([1.0, 0.0])
    with pytest.raises(ValueError, match="positive"):
        find_levels([])


@settings(max_examples=25, deadline=None)
@given(
    values=st.lists(st.floats(0.1, 10), min_size=1, max_size=25),
    unit=st.floats(1e-6, 1e6),
)
def test_levels_cover_the_series_whatever_its_unit(values, unit):
    levels = find_levels(values)
    assert levels[0].start == 0
    assert levels[-1].stop == len(values)
    for before, after in itertools.pairwise(levels):
        assert before.stop == after.start
    found = [level.value for level in find_levels([unit * v for v in values])]
    if len(found) == len(levels):  # a tie may fall either way
        assert found == pytest.approx([unit * level.value for level in levels])
