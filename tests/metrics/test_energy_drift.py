import numpy as np
import pytest

from dpbench.metrics.drift import energy_drift

NATOMS = 64


def test_planted_slope_is_recovered_within_one_percent():
    time = np.arange(0, 10_000, 5.0)  # fs
    rng = np.random.default_rng(3)
    planted = -1e-3  # eV/atom/ps
    wave = 1e-4 * np.sin(time / 40) + rng.normal(scale=1e-4, size=len(time))
    energy = NATOMS * (-3.0 + planted * time / 1000 + wave)
    drift = energy_drift(time, energy, natoms=NATOMS)
    assert drift.slope == pytest.approx(-1.0, rel=0.01)
    assert drift.magnitude == pytest.approx(1.0, rel=0.01)


def test_the_first_fifth_is_dropped_once():
    time = np.linspace(0, 1000, 1001)
    energy = np.where(time < 200, 1e6, 0.5 * time / 1000)
    drift = energy_drift(time, energy, natoms=1)
    assert drift.slope == pytest.approx(500.0)
    assert drift.n == 801
    late = np.where(time < 240, 1e6, 0.5 * time / 1000)
    assert abs(energy_drift(time, late, natoms=1).slope) > 1e6


def test_a_shorter_run_of_the_same_slope_reads_the_same():
    """A two-point difference over the wrong span read 0.78 of it elsewhere."""
    for n in (50, 200, 1000):
        time = np.arange(n) * 1.0
        drift = energy_drift(time, 2e-6 * time, natoms=1)
        assert drift.slope == pytest.approx(2.0, rel=1e-9)


def test_too_few_points_give_no_drift():
    assert energy_drift(np.arange(2.0), np.arange(2.0), natoms=1) is None
    assert energy_drift(np.zeros(0), np.zeros(0), natoms=1) is None
