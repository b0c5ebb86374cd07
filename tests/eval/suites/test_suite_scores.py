"""Scores are made on read, from frozen bounds, and know of no other row."""

import math
from dataclasses import replace

import pytest

from dpbench.eval.suites.format import SuiteMetric
from dpbench.eval.suites.loading import load_suite
from dpbench.eval.suites.scoring import Numbers, normalised, score_of
from dpbench.metrics.definitions import metric_value

SUITE = load_suite("si-lda").file
PLACES = (("accuracy", "si8", "test"), ("accuracy", "si8", "ood"))
METRICS = tuple(m for m in SUITE.metric if m.task == "accuracy")
SMALL = replace(
    SUITE,
    task=tuple(t for t in SUITE.task if t.task == "accuracy"),
    metric=METRICS,
)


def numbers(share, *, failed=False, leave_out=(), ci=None):
    """Every metric at a share of its useless bound."""
    found = {}
    for place in PLACES:
        own = [m for m in METRICS if (m.task, m.data, m.part) == place]
        metrics = {
            m.name: metric_value(
                m.name,
                share * m.useless,
                n=1,
                interval=ci and (ci[0] * m.useless, ci[1] * m.useless),
            )
            for m in own
            if m.name not in leave_out
        }
        found[place] = Numbers(failed=failed, metrics=metrics)
    return found


def test_the_composition_only_model_scores_one():
    """1 = useless, 0 = perfect: dummy-normalised errors."""
    assert score_of(SMALL, numbers(1.0)).value == pytest.approx(1.0)
    assert score_of(SMALL, numbers(7.0)).value == pytest.approx(1.0)


def test_errors_of_one_share_score_that_share():
    score = score_of(SMALL, numbers(0.05))
    assert score.value == pytest.approx(0.05)
    assert score.by_data == {"si8": pytest.approx(0.05)}


def test_perfect_numbers_score_the_floor():
    assert score_of(SMALL, numbers(0.0)).value == pytest.approx(SMALL.floor)


def test_the_score_is_the_weighted_geometric_mean():
    found = numbers(0.1)
    place = PLACES[0]
    metric = METRICS[0]
    changed = {**found[place].metrics}
    changed[metric.name] = metric_value(metric.name, 0.4 * metric.useless, n=1)
    found[place] = Numbers(failed=False, metrics=changed)
    total = sum(m.weight for m in METRICS)
    expected = math.exp(math.log(0.1) + metric.weight / total * math.log(4.0))
    assert score_of(SMALL, found).value == pytest.approx(expected)


def test_a_failed_task_counts_as_useless():
    """E4: a failure lowers the score and is never dropped."""
    found = numbers(0.01)
    found[PLACES[1]] = Numbers(failed=True)
    score = score_of(SMALL, found)
    assert score.value > score_of(SMALL, numbers(0.01)).value
    assert {t.status for t in score.terms if t.metric.part == "ood"} == {"failed"}
    assert all(t.error == 1.0 for t in score.terms if t.status == "failed")


def test_a_missing_number_gives_no_score():
    """E2: a missing label is null, never 0, and never skipped in silence."""
    score = score_of(SMALL, numbers(0.1, leave_out=("virial_rmse_per_atom_mev",)))
    assert score.value is None
    assert "virial_rmse_per_atom_mev (si8:test)" in score.why_none
    assert score_of(SMALL, {}).value is None
    assert score.by_data == {"si8": None}


def test_a_suite_may_count_a_missing_number_as_useless():
    strict = replace(
        SMALL, metric=tuple(replace(m, missing="useless") for m in METRICS)
    )
    assert score_of(strict, {}).value == pytest.approx(1.0)


def test_a_number_of_weight_nothing_is_shown_and_does_not_count():
    shown = tuple(
        replace(m, weight=0.0) if m.name.startswith("virial") else m for m in METRICS
    )
    suite = replace(SMALL, metric=shown)
    score = score_of(suite, numbers(0.1, leave_out=("virial_rmse_per_atom_mev",)))
    assert score.value == pytest.approx(0.1)
    assert len(score.terms) == len(METRICS)
    none = replace(SMALL, metric=tuple(replace(m, weight=0.0) for m in METRICS))
    assert "weight 0" in score_of(none, numbers(0.1)).why_none


def test_the_ends_of_a_score_are_those_of_its_numbers():
    """L3: an interval on every number."""
    score = score_of(SMALL, numbers(0.1, ci=(0.08, 0.13)))
    assert score.low == pytest.approx(0.08)
    assert score.high == pytest.approx(0.13)
    assert score_of(SMALL, numbers(0.1)).low is None


def test_where_higher_is_better_the_bounds_are_turned():
    metric = SuiteMetric(
        name="nve_completed_percent",
        task="stability",
        data="si8",
        part="test",
        weight=1.0,
        polarity="higher",
        useless=0.0,
        perfect=100.0,
    )
    assert normalised(metric, 100.0, floor=0.001) == 0.001
    assert normalised(metric, 75.0, floor=0.001) == 0.25
    assert normalised(metric, 0.0, floor=0.001) == 1.0


def test_a_score_of_smoke_numbers_is_rough():
    found = numbers(0.1)
    assert not score_of(SMALL, found).is_rough
    found[PLACES[0]] = replace(found[PLACES[0]], is_smoke=True)
    assert score_of(SMALL, found).is_rough
