"""Spectra, diffusion, temperatures and pressures of motion with known answers (E3)."""

import numpy as np
import pytest

from dpbench.metrics.diffusion import diffusion
from dpbench.metrics.equipartition import equipartition_temperature
from dpbench.metrics.pressure import pressure_error, pressure_mae
from dpbench.metrics.vdos import difference_velocities, vdos, vdos_error
from dpbench.units import AMU, BOLTZMANN

DT = 2.0  # fs


def oscillators(frequencies, nframes, *, timestep=DT, seed=0):
    """Paths of independent oscillators (THz), one in each component."""
    rng = np.random.default_rng(seed)
    frequency = np.asarray(frequencies, float).reshape(-1, 3)
    time = np.arange(nframes)[:, None, None] * timestep / 1000
    phase = 2 * np.pi * (frequency * time + rng.random(frequency.shape))
    return np.cos(phase)


def test_a_harmonic_chain_has_its_band_and_the_peak_at_its_edge():
    """E3. w = 2 w0 |sin(q/2)|: the density of states diverges at 2 w0."""
    natoms, edge = 600, 15.0
    q = 2 * np.pi * (np.arange(natoms) + 0.5) / natoms
    frequency, power = vdos(
        difference_velocities(oscillators(edge * np.abs(np.sin(q / 2)), 2000), DT),
        timestep=DT,
    )
    assert frequency[np.argmax(power)] == pytest.approx(edge, abs=0.3)
    assert power[frequency > edge + 1].sum() < 1e-3 * power.sum()
    middle = power[np.abs(frequency - edge / 2) < 1].mean()
    # Its density 2 / (pi sqrt(edge^2 - f^2)) is flat below.
    low = power[np.abs(frequency - 3) < 1].mean()
    expected = np.sqrt((edge**2 - 9) / (edge**2 - edge**2 / 4))
    assert middle / low == pytest.approx(expected, rel=0.1)


def test_each_component_weighs_the_same_whatever_its_mass():
    path = oscillators([5, 5, 5, 20, 20, 20], 1000)
    path[:, 0] *= 100.0
    frequency, power = vdos(difference_velocities(path, DT), timestep=DT)
    shares = [power[np.abs(frequency - f) < 2].sum() for f in (5, 20)]
    assert shares[0] == pytest.approx(shares[1], rel=1e-3)


def test_frozen_atoms_have_no_spectrum_and_short_runs_none():
    assert vdos(np.zeros((50, 4, 3)), timestep=DT) is None
    assert vdos(np.ones((5, 4, 3)), timestep=DT) is None
    half = np.zeros((50, 2, 3))
    half[:, 0] = oscillators([10, 10, 10], 50)[:, 0]
    assert vdos(half, timestep=DT)[1].sum() == pytest.approx(3)


def test_error_of_vdos_grows_with_softening_and_is_zero_for_the_same():
    rng = np.random.default_rng(2)
    band = rng.uniform(2, 15, 300)

    def spectrum(scale, nframes=1500, seed=0):
        path = oscillators(band * scale, nframes, seed=seed)
        return vdos(difference_velocities(path, DT), timestep=DT)

    reference = spectrum(1.0)
    assert vdos_error(reference, reference) == 0
    errors = [vdos_error(reference, spectrum(s)) for s in (0.95, 0.8, 0.5)]
    assert errors == sorted(errors)
    # A band that is scaled by 0.8 moves by a fifth of its mean, 8.5 THz.
    assert errors[1] == pytest.approx(100 * 0.2 * 8.5 / 3.75, rel=0.1)
    assert vdos_error(reference, spectrum(1.0, nframes=900, seed=3)) < 5
    assert vdos_error(reference, spectrum(0.01)) == 100


def brownian(diffusion_ang2_per_ps, *, nframes, natoms, seed, timestep=DT):
    rng = np.random.default_rng(seed)
    width = np.sqrt(2 * diffusion_ang2_per_ps * timestep / 1000)
    steps = rng.normal(scale=width, size=(nframes, natoms, 3))
    return np.cumsum(steps, axis=0)


def test_brownian_motion_gives_its_coefficient_and_an_interval_that_holds_it():
    """E3. 95 % intervals hold the truth in 86 to 100 of 100 draws."""
    held, values = 0, []
    mass = np.ones(8)
    for seed in range(100):
        path = brownian(0.5, nframes=200, natoms=8, seed=seed)
        found = diffusion([path], timestep=DT, mass=mass)
        share = 7 / 8  # the centre of mass takes its part with it
        values.append(found.value / share)
        held += found.low <= 0.5 * share <= found.high
    assert np.mean(values) == pytest.approx(0.5, rel=0.02)
    assert 86 <= held <= 100
    assert found.nblocks == 5
    assert found.exponent == pytest.approx(1.0, abs=0.15)


def test_solids_and_flights_do_not_count_as_diffusion():
    rng = np.random.default_rng(1)
    solid = rng.normal(scale=0.1, size=(400, 8, 3))
    assert not diffusion([solid], timestep=DT, mass=np.ones(8)).is_diffusive
    flight = np.arange(400)[:, None, None] * rng.normal(size=(1, 8, 3)) * 1e-3
    assert not diffusion([flight], timestep=DT, mass=np.ones(8)).is_diffusive
    moving = brownian(2.0, nframes=2000, natoms=8, seed=0)
    # The same, but too short to leave a cage: nothing can be said.
    short = brownian(2.0, nframes=200, natoms=8, seed=0)
    assert not diffusion([short], timestep=DT, mass=np.ones(8)).is_diffusive
    assert diffusion([moving], timestep=DT, mass=np.ones(8)).is_diffusive


def test_too_short_a_run_has_no_interval_or_no_coefficient():
    path = brownian(0.5, nframes=60, natoms=8, seed=0)
    found = diffusion([path], timestep=DT, mass=np.ones(8))
    assert (found.nblocks, found.low, found.high) == (3, None, None)
    assert not found.is_diffusive
    assert diffusion([path[:10]], timestep=DT, mass=np.ones(8)) is None
    both = diffusion([path, path + 1, path], timestep=DT, mass=np.ones(8))
    assert both.nblocks == 6


def thermal(temperature, *, nframes=400, natoms=30, seed=0):
    """Oscillators at one temperature; returns paths and masses."""
    rng = np.random.default_rng(seed)
    mass = rng.uniform(10, 50, natoms) * AMU
    omega = 2 * np.pi * rng.uniform(2, 10, (natoms, 3))  # 1/ps
    amplitude = np.sqrt(2 * BOLTZMANN * temperature / mass)[:, None] / omega
    time = np.arange(nframes)[:, None, None] * DT / 1000
    return amplitude * np.cos(omega * time + rng.uniform(0, 7, (natoms, 3))), mass


def test_equipartition_reads_the_temperature_of_oscillators():
    path, mass = thermal(600.0)
    found = equipartition_temperature(path, timestep=DT, mass=mass, kb=BOLTZMANN)
    assert found == pytest.approx(600, rel=0.1)


@pytest.mark.parametrize("factor", [0.5, 2, 5, 10])
def test_a_wrong_interval_between_frames_is_caught_by_equipartition(factor):
    """Planted: a time step wrong by f reads a temperature wrong by 1/f^2."""
    path, mass = thermal(300.0)
    right, wrong = (
        equipartition_temperature(path, timestep=dt, mass=mass, kb=BOLTZMANN)
        for dt in (DT, factor * DT)
    )
    assert wrong == pytest.approx(right / factor**2)


def test_the_centre_of_mass_is_no_temperature():
    path, mass = thermal(300.0)
    drifting = path + np.arange(len(path))[:, None, None] * 0.1
    still, moving = (
        equipartition_temperature(one, timestep=DT, mass=mass, kb=BOLTZMANN)
        for one in (path, drifting)
    )
    assert moving == pytest.approx(still)
    assert equipartition_temperature(path[:1], timestep=DT, mass=mass, kb=1.0) is None


def test_pressures_are_compared_by_mean_and_by_distribution():
    rng = np.random.default_rng(4)
    reference = rng.normal(2.0, 0.5, 4000)
    assert pressure_mae(reference, reference[::-1]) == pytest.approx(0, abs=1e-12)
    assert pressure_mae(reference, reference + 0.3) == pytest.approx(0.3)
    assert pressure_error(reference, reference[::-1]) == 0
    assert pressure_error(reference, reference + 50) == pytest.approx(100)
    # Two normal densities one width apart do not share erf(1 / sqrt(8)) = 0.383.
    shifted = rng.normal(2.5, 0.5, 4000)
    assert pressure_error(reference, shifted) == pytest.approx(38.3, abs=3)
    assert pressure_error(np.full(9, 1.0), np.full(4, 1.0)) == 0
    with pytest.raises(ValueError, match="numbers"):
        pressure_error(reference, np.array([np.nan]))
