import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpbench.metrics.definitions import metric_value
from dpbench.metrics.verdicts import (
    FEWEST_ROUNDS,
    Verdict,
    compare,
    compare_timings,
    compare_values,
    rank_ranges,
)
from tests.metrics.correlated_errors import forgetful, series_of

TIME = 20


def test_a_model_that_is_a_little_better_everywhere_is_called_better():
    """Pairing sees 3 % where the two intervals lie on top of each other."""
    errors = forgetful(np.random.default_rng(0), (4, 500), TIME) + 10
    own = np.random.default_rng(1).normal(0, 0.05, errors.shape)
    a, b = series_of(errors * 0.97 + own), series_of(errors)
    verdict = compare([a], [b])
    assert verdict.outcome == "better"
    assert verdict.ci_low < verdict.difference < verdict.ci_high < 0
    assert compare([b], [a]) == verdict.reversed()


def test_equal_models_are_called_different_as_often_as_the_level_says():
    rng = np.random.default_rng(2)
    called = 0
    for one, two, shared in forgetful(rng, (200, 3, 1200), TIME):
        a, b = (series_of(10 + shared + own) for own in (one, two))
        called += compare([a], [b]).outcome != "level"
    assert called / 200 <= 0.10


def test_the_same_weights_in_two_precisions_are_level():
    """A difference of a thousandth is none, however sure a test is of it."""
    errors = np.random.default_rng(3).normal(size=400)
    verdict = compare([series_of(errors)], [series_of(errors * (1 + 2e-4))])
    assert verdict.outcome == "level"
    assert verdict.p < 1e-6


def test_one_training_says_that_it_says_nothing_of_others():
    errors = np.random.default_rng(4).normal(size=400)
    one = [series_of(errors)]
    three = [series_of(errors * scale) for scale in (0.7, 0.8, 0.9)]
    assert "one seed" in compare(one, one).note
    assert "two seeds" in compare(three[:2], three).note
    assert compare(three, three).note == ""
    assert compare(three, one).nseeds == (3, 1)


def test_a_lucky_seed_is_not_a_better_model():
    """Three trainings that scatter by more than two models differ tell nothing."""
    errors = np.random.default_rng(5).normal(size=1000)
    a = [series_of(errors * scale) for scale in (0.8, 1.0, 1.2)]
    b = [series_of(errors * scale) for scale in (0.9, 1.1, 1.3)]
    assert compare(a[:1], b[:1]).outcome == "better"
    assert compare(a, b).outcome == "level"


def test_seeds_that_agree_are_called():
    errors = np.random.default_rng(6).normal(size=1000)
    a = [series_of(errors * scale) for scale in (0.79, 0.80, 0.81)]
    b = [series_of(errors * scale) for scale in (0.99, 1.00, 1.01)]
    assert compare(a, b).outcome == "better"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frames": "others"}, "different frames"),
        ({"frames": ""}, "different frames"),
        ({"denominator": np.full(400, 2.0)}, "labels"),
        ({"numerator": np.full(400, np.inf)}, "not finite"),
    ],
)
def test_what_cannot_be_paired_has_no_verdict(change, words):
    a = series_of(np.random.default_rng(7).normal(size=400))
    verdict = compare([a], [replace(a, **change)])
    assert verdict.outcome == "unknown"
    assert words in verdict.note


def test_below_five_blocks_there_is_no_verdict():
    """L3: the difference stands, but nothing is called."""
    a = series_of(forgetful(np.random.default_rng(8), (60,), TIME))
    b = series_of(5 + forgetful(np.random.default_rng(9), (60,), TIME))
    verdict = compare([a], [b])
    assert verdict.outcome == "unknown"
    assert verdict.difference is not None
    assert "5 are needed" in verdict.note


def test_a_metric_of_which_more_is_better_turns_the_verdict():
    errors = 10 + np.random.default_rng(10).normal(size=400)
    a, b = [series_of(errors * 1.5)], [series_of(errors)]
    assert compare(a, b).outcome == "worse"
    assert compare(a, b, higher_is_better=True).outcome == "better"


def force(value, low, high):
    interval = None if low is None else (low, high)
    name = "force_rmse_component_mev_per_ang"
    value = None if value is None else float(value)
    return metric_value(name, value, n=9, interval=interval)


def test_without_errors_only_intervals_that_do_not_overlap_differ():
    a, b, c = force(1.0, 0.8, 1.2), force(2.0, 1.1, 2.9), force(3.0, 2.5, 3.5)
    assert compare_values(a, c).outcome == "better"
    assert compare_values(c, a).outcome == "worse"
    assert compare_values(a, b).outcome == compare_values(b, c).outcome == "level"
    assert compare_values(a, force(9, None, None)).outcome == "unknown"
    assert compare_values(a, force(None, None, None)).outcome == "unknown"
    assert compare_values(a, None).outcome == "unknown"


OUTCOMES = st.sampled_from(["better", "worse", "level", "unknown"])


@st.composite
def verdict_tables(draw):
    """Any verdicts at all between rows, some of which are of one model."""
    n = draw(st.integers(2, 7))
    models = draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    table = [[None] * n for _ in range(n)]
    for i in range(n):
        for j in range(i):
            verdict = Verdict(outcome=draw(OUTCOMES))
            table[i][j], table[j][i] = verdict, verdict.reversed()
    return models, table


@given(case=verdict_tables(), data=st.data())
def test_taking_a_model_out_moves_no_range_by_more_than_that_model(case, data):
    """L4: ranges count verdicts, so one model less is one rank at most."""
    models, table = case
    gone = data.draw(st.sampled_from(models))
    rest = [i for i, model in enumerate(models) if model != gone]
    before = rank_ranges(models, table)
    after = rank_ranges(
        [models[i] for i in rest], [[table[i][j] for j in rest] for i in rest]
    )
    for i, now in zip(rest, after, strict=True):
        assert 1 <= now.first <= now.last <= len(set(models))
        assert now.first in (before[i].first, before[i].first - 1)
        assert now.last in (before[i].last, before[i].last - 1)


def test_rank_ranges_are_counted_by_hand():
    a, b, c = (force(x, x - 0.3, x + 0.3) for x in (1.0, 1.5, 2.0))
    rows = (a, b, c)
    table = [[None if x is y else compare_values(x, y) for y in rows] for x in rows]
    found = rank_ranges("abc", table)
    assert [(r.first, r.last) for r in found] == [(1, 2), (1, 3), (2, 3)]


def rounds(rng, *, count=20, slower=1.0):
    """Times of two sides in turns: the machine drifts, and other programs wake up."""
    drift = np.cumsum(rng.normal(0, 0.01, count))
    drift += 0.05 * np.sin(np.arange(count) / 3 + rng.uniform(0, 6))
    sides = []
    for factor in (slower, 1.0):
        times = factor * np.exp(drift + rng.normal(0, 0.015, count))
        spiked = rng.random(count) < 0.08
        times[spiked] *= rng.uniform(1.1, 3.0, spiked.sum())
        sides.append(times)
    return sides


def test_a_thing_against_itself_is_called_different_twice_in_forty_at_most():
    """T4: A/A at the 1 % level."""
    rng = np.random.default_rng(20)
    calls = [compare_timings(*rounds(rng)).outcome for _ in range(40)]
    assert sum(call != "level" for call in calls) <= 2


@pytest.mark.parametrize("count", [5, 10])
def test_few_rounds_do_not_call_more_often_by_chance(count):
    """T4: 200 comparisons at the 1 % level; a third is found by five rounds."""
    rng = np.random.default_rng(25)
    calls = [compare_timings(*rounds(rng, count=count)).outcome for _ in range(200)]
    assert sum(call != "level" for call in calls) <= 6
    slow = [compare_timings(*rounds(rng, count=count, slower=1.4)) for _ in range(40)]
    assert sum(call.outcome == "worse" for call in slow) >= 34


def test_a_planted_slowdown_of_five_percent_is_called():
    """T4: in at least 36 of 40."""
    rng = np.random.default_rng(21)
    calls = [compare_timings(*rounds(rng, slower=1.05)) for _ in range(40)]
    assert sum(call.outcome == "worse" for call in calls) >= 36
    sizes = [call.difference for call in calls]
    assert np.median(sizes) == pytest.approx(0.05, abs=0.01)


def test_medians_that_are_not_paired_would_miss_it():
    """The fault that the pairing is against: the drift is larger than the slowdown."""
    rng = np.random.default_rng(22)
    called = 0
    for _ in range(40):
        a, b = rounds(rng, slower=1.05)
        called += compare_timings(a, b, paired=False).outcome == "worse"
    assert called < 20


def test_timings_of_two_sessions_differ_from_a_twentieth_on():
    rng = np.random.default_rng(23)
    a = rng.normal(1.0, 0.003, 10)
    assert compare_timings(a, a * 1.04, paired=False).outcome == "level"
    verdict = compare_timings(a, a * 1.2, paired=False)
    assert verdict.outcome == "better"
    assert verdict.difference == pytest.approx(1 / 1.2 - 1, abs=1e-3)
    assert "in turns" in verdict.note


@pytest.mark.parametrize(
    ("a", "b"),
    [([1.0] * (FEWEST_ROUNDS - 1),) * 2, ([1.0] * 9, [1.0] * 8), ([0.0] * 9,) * 2],
)
def test_timings_that_do_not_pair_have_no_verdict(a, b):
    assert compare_timings(a, b).outcome == "unknown"


def test_equal_clocks_are_level():
    assert compare_timings([2.0] * 9, [2.0] * 9).outcome == "level"
    assert compare_timings([3.0] * 9, [2.0] * 9).outcome == "worse"


@settings(max_examples=30)
@given(unit=st.floats(1e-9, 1e9))
def test_a_verdict_on_timings_has_no_unit(unit):
    a, b = rounds(np.random.default_rng(24), slower=1.05)
    plain, scaled = compare_timings(a, b), compare_timings(a * unit, b * unit)
    assert plain.outcome == scaled.outcome
    assert math.isclose(plain.difference, scaled.difference, rel_tol=1e-6)
