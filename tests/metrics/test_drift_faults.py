"""E3: two faults of other benchmarks, planted; what they would read, and what is read.

The planted slope must be recovered within 1 %; either fault misses that by far.
"""

import numpy as np
import pytest
from ase import units

from dpbench.metrics import drift
from dpbench.metrics.drift import energy_drift

PLANTED = 1.0  # meV/atom/ps
NATOMS = 32


def series(n, *, noise=1e-6):
    time = np.arange(n) * 1.0  # fs
    rng = np.random.default_rng(1)
    settling = 2e-3 * np.exp(-time / (0.05 * n))
    energy = PLANTED / 1000 * time / 1000 + settling + rng.normal(scale=noise, size=n)
    return time, NATOMS * energy


def in_ase_units(time, energy):
    """LAMBench: time in ASE's unit, the slope called eV/atom/ps all the same."""
    return energy_drift(time * units.fs, energy, natoms=NATOMS).slope


def offset_twice(time, energy):
    """fairchem: the equilibration is sliced off, then indexed off again."""
    offset = int(0.2 * len(time))
    late = energy[offset:]
    rise = late[-1] - late[min(offset, len(late) - 1)]
    return 1000 * rise / NATOMS / ((time[-1] - time[offset]) / 1000)


@pytest.mark.parametrize("n", [200, 1000, 10_000])
def test_the_planted_slope_is_recovered_within_one_percent(n):
    """E3."""
    time, energy = series(n)
    found = energy_drift(time, energy, natoms=NATOMS, discard=0.4)
    assert found.slope == pytest.approx(PLANTED, rel=0.01 if n > 200 else 0.1)
    smooth = NATOMS * PLANTED / 1e6 * time
    assert energy_drift(time, smooth, natoms=NATOMS).slope == pytest.approx(
        PLANTED, rel=1e-9
    )


def test_ases_time_unit_reads_ten_times_too_much():
    time, energy = series(10_000)
    wrong = in_ase_units(time, energy)
    assert wrong / PLANTED == pytest.approx(1 / units.fs, rel=0.01)
    assert 10 < wrong / PLANTED < 10.5


def test_an_offset_that_is_taken_twice_reads_too_little():
    time = np.arange(1000) * 1.0
    energy = NATOMS * PLANTED / 1e6 * time
    assert offset_twice(time, energy) / PLANTED == pytest.approx(0.75, abs=0.03)
    assert energy_drift(time, energy, natoms=NATOMS).slope == pytest.approx(PLANTED)


@pytest.mark.parametrize("unit", [1000 * units.fs, 1.0, 1e6])
def test_a_wrong_conversion_of_time_in_the_code_would_fail(monkeypatch, unit):
    """Planted into the code itself: the recovery test is what catches it."""
    monkeypatch.setattr(drift, "FS_PER_PS", unit)
    time, energy = series(1000)
    found = energy_drift(time, energy, natoms=NATOMS, discard=0.4).slope
    assert found != pytest.approx(PLANTED, rel=0.01)
