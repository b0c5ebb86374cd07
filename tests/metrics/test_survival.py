"""Survival curves and scores of runs that may fail (E4)."""

import numpy as np
import pytest

from dpbench.metrics.survival import (
    stability_score,
    survival_auc,
    survival_curve,
    survived_parts,
)


def test_area_is_that_under_the_curve():
    parts = survived_parts([None, 30, 70, 0], 100)
    progress, alive = survival_curve(parts, npoints=10_001)
    assert survival_auc(parts) == pytest.approx(0.5)
    assert np.trapezoid(alive, x=progress) == pytest.approx(0.5, abs=1e-3)
    assert (alive[0], alive[-1]) == (1.0, 0.25)


def test_every_failed_run_lowers_the_area_and_none_is_dropped():
    whole = survival_auc(survived_parts([None, None, None], 50))
    assert whole == 1
    for step in (0, 1, 25, 49):
        area = survival_auc(survived_parts([None, None, step], 50))
        assert area == pytest.approx((2 + step / 50) / 3)
        assert area < whole


def test_score_of_one_run_follows_what_happened_to_it():
    assert stability_score(100, exploded_at=None, detached_at=None) == 1
    assert stability_score(100, exploded_at=40, detached_at=None) == pytest.approx(0.2)
    assert stability_score(100, exploded_at=None, detached_at=40) == pytest.approx(0.7)
    assert stability_score(100, exploded_at=40, detached_at=10) == pytest.approx(0.2)
