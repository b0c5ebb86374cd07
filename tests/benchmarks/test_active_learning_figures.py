"""Figures of the active-learning benchmark."""

import numpy as np
import pytest

from benchmarks.active_learning_figures import (
    compared,
    errors,
    labels_for,
    summary,
    table,
)


def points(*values: float) -> list[dict[str, float]]:
    return [
        {"labels": 20 + 10 * i, "force_rmse": v, "force_p95": 2 * v, "energy_rmse": v}
        for i, v in enumerate(values)
    ]


def test_errors_of_a_known_miss():
    found = errors(
        np.array([1.0, 2.0]),
        np.zeros((4, 3)),
        true_energy=np.array([0.0, 2.0]),
        true_force=np.array([[0.3, 0.0, 0.4]] * 4),
        natoms=np.array([2, 2]),
    )
    assert found["energy_rmse"] == pytest.approx(np.sqrt(0.25 / 2))
    assert found["force_rmse"] == pytest.approx(0.5 / np.sqrt(3))
    assert found["force_p95"] == pytest.approx(0.5)


def test_labels_are_read_off_a_curve_that_is_straight_in_logarithms():
    curve = [(10, 0.4), (40, 0.2)]
    assert labels_for(curve, 0.4) == 10
    assert labels_for(curve, 0.2) == pytest.approx(40)
    assert labels_for(curve, 0.4 / np.sqrt(2)) == pytest.approx(20)
    assert labels_for(curve, 0.1) is None


def test_the_better_side_needs_fewer_labels_for_the_error_of_the_other():
    told = compared(points(0.4, 0.2, 0.1), points(0.4, 0.3, 0.2))
    assert told["force_rmse_ratio"] == pytest.approx(0.5)
    pair = told["force_rmse_at_equal_error"]
    assert (pair["active_labels"], pair["random_labels"]) == (30, 40)


def test_a_side_that_lost_is_told_so():
    told = compared(points(0.4, 0.3), points(0.4, 0.2))
    total = summary([told])
    assert total["force_rmse_ratio"] == pytest.approx(1.5)
    assert total["force_rmse_met"] is False
    assert total["force_rmse_label_share"] > 1


def test_the_median_over_seeds_decides():
    some = [compared(points(0.4, v), points(0.4, 0.2)) for v in (0.1, 0.16, 0.3)]
    total = summary(some)
    assert total["force_rmse_ratio"] == pytest.approx(0.8)
    assert total["force_rmse_met"] is True
    seeds = [
        {
            "seed": 1,
            "active": points(0.4, 0.1),
            "random": points(0.4, 0.2),
            "wall_seconds": 9.0,
        }
    ]
    assert "| 0.80 |" in table(seeds, total)
