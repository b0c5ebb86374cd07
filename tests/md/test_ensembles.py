"""Ensembles: energies and volumes are distributed as statistical mechanics says."""

import functools
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from dpbench.md.settings import Baths
from dpbench.units import BAR, BOLTZMANN
from tests.md.analytic import (
    MASS,
    IdealGas,
    SoftSpheres,
    Springs,
    decorrelated,
    kinetic_scale,
    lattice,
    series,
    standard_error,
    start,
)

NVT = {
    "langevin": Baths(ensemble="langevin", timestep=2.0, tdamp=50.0),
    "nhc": Baths(ensemble="nvt", timestep=2.0, tdamp=50.0),
    "bussi": Baths(ensemble="nvt", thermostat="bussi", timestep=2.0, tdamp=50.0),
}

DOUBT = 1e-3
"""Probability below which a distribution counts as wrong; seeds are fixed."""


@functools.cache
def twice_kinetic(name):
    """2 K / kT of 24 replicas, and their degrees of freedom."""
    run = start(SoftSpheres(), lattice(), NVT[name], nreplicas=24)
    found = series(run, 1500, ("twice_kinetic",), every=10)["twice_kinetic"]
    return found / kinetic_scale(run.baths), run.dof


@pytest.mark.parametrize("name", list(NVT))
def test_kinetic_energy_is_canonical(name):
    """2 K / kT is chi-square distributed by the degrees of freedom."""
    found, dof = twice_kinetic(name)
    sample, _ = decorrelated(found)
    assert len(sample) > 300
    assert stats.kstest(sample, stats.chi2(dof).cdf).pvalue > DOUBT
    # Three degrees of freedom more or less would show.
    for wrong in (dof - 3, dof + 3):
        assert stats.kstest(sample, stats.chi2(wrong).cdf).pvalue < DOUBT


@pytest.mark.parametrize("name", list(NVT))
def test_mean_temperature_is_the_one_asked_for(name):
    found, dof = twice_kinetic(name)
    found = found / dof
    error = standard_error(found)
    assert error < 0.01
    assert abs(found[30:].mean() - 1) < 2 * error


def test_langevin_positions_on_springs_are_exact():
    """BAOAB samples x of a harmonic well without error: <x^2> = kT/k at any step."""
    baths = Baths(ensemble="langevin", timestep=40.0, tdamp=100.0)
    springs = Springs()
    omega_dt = np.sqrt(springs.k / MASS) * 0.04
    assert omega_dt > 1  # a long step on purpose
    run = start(springs, lattice(8), baths, nreplicas=2)
    run.state.coord.mul_(0)
    run.start()
    places = series(run, 400, ("coord",), every=20)["coord"][5:]
    width = np.sqrt(BOLTZMANN * baths.temperature / springs.k)
    assert places.size > 40_000
    assert places.std() == pytest.approx(width, rel=0.01)
    sample = places[::3, 0].ravel()
    assert stats.kstest(sample / width, stats.norm.cdf).pvalue > DOUBT


def test_velocities_of_all_atoms_are_maxwellian():
    run = start(Springs(), lattice(8), NVT["langevin"])
    run.state.coord.mul_(0)
    run.start()
    for _ in range(300):
        run.step()
    width = np.sqrt(kinetic_scale(run.baths) / MASS)
    sample = run.state.velocity.numpy().ravel() / width
    assert stats.kstest(sample, stats.norm.cdf).pvalue > DOUBT


@pytest.mark.parametrize("couple", ["iso", "aniso"])
@pytest.mark.parametrize("thermostat", ["bussi", "langevin"])
def test_volume_of_an_ideal_gas_is_gamma_distributed(thermostat, couple):
    """p(V) ~ V^N exp(-P V / kT), with the centre of mass at rest or not."""
    natoms, pressure, temperature = 8, 1000.0, 300.0
    mean = (natoms + 1) * BOLTZMANN * temperature / (pressure * BAR)
    baths = Baths(
        ensemble="npt",
        thermostat=thermostat,
        temperature=temperature,
        pressure=pressure,
        timestep=5.0,
        tdamp=50.0,
        pdamp=100.0,
        compressibility=1 / pressure,
        couple=couple,
    )
    run = start(IdealGas(), lattice(2, mean ** (1 / 3) / 2), baths, nreplicas=200)
    volumes = series(run, 1500, ("volume",), every=10)["volume"]
    sample, _ = decorrelated(volumes)
    assert len(sample) > 1000
    scaled = sample * pressure * BAR / (BOLTZMANN * temperature)
    assert stats.kstest(scaled, stats.gamma(natoms + 1).cdf).pvalue > DOUBT
    # A power more or less, the classic mistake, would show.
    for power in (natoms, natoms + 2):
        assert stats.kstest(scaled, stats.gamma(power).cdf).pvalue < DOUBT


def volumes_at(pressure, baths, *, steps, nreplicas):
    run = start(
        SoftSpheres(),
        lattice(),
        replace(baths, pressure=pressure),
        nreplicas=nreplicas,
        seed=int(pressure),
    )
    found = series(run, steps, ("volume",), every=10)["volume"]
    return decorrelated(found, discard=0.3, spacing=2)[0], run


def shirts_slope(low, high):
    """Slope of ln(P_low / P_high) in V by maximum likelihood, and its error.

    Source:
        M. R. Shirts, J. Chem. Theory Comput. 9, 909 (2013).
    """
    volumes = np.concatenate([low, high])
    centre = volumes.mean()
    x = volumes - centre
    y = np.concatenate([np.ones(len(low)), np.zeros(len(high))])
    design = np.stack([np.ones_like(x), x], axis=1)
    weights = np.zeros(2)
    for _ in range(30):
        p = 1 / (1 + np.exp(-design @ weights))
        hessian = design.T @ (design * (p * (1 - p))[:, None])
        weights += np.linalg.solve(hessian, design.T @ (y - p))
    return weights[1], np.sqrt(np.linalg.inv(hessian)[1, 1])


@pytest.mark.slow
@pytest.mark.parametrize("thermostat", ["bussi", "langevin"])
def test_volumes_at_two_pressures_obey_the_boltzmann_ratio(thermostat, figures):
    """ln(P1(V)/P2(V)) is linear in V with slope (P2 - P1) / kT."""
    baths = Baths(
        ensemble="npt",
        thermostat=thermostat,
        timestep=2.0,
        tdamp=50.0,
        pdamp=100.0,
        compressibility=4e-5,
    )
    low, run = volumes_at(10_000.0, baths, steps=4000, nreplicas=32)
    high, _ = volumes_at(12_500.0, baths, steps=4000, nreplicas=32)
    assert min(len(low), len(high)) > 600
    # The two overlap, but differ.
    assert 0.5 < (low.mean() - high.mean()) / low.std() < 3
    slope, error = shirts_slope(low, high)
    expected = 2500.0 * BAR / kinetic_scale(run.baths)
    figures(
        f"{thermostat}: slope/expected {slope / expected:.3f} +- {error / expected:.3f}"
    )
    assert error < 0.06 * expected
    assert abs(slope - expected) < 3 * error


@pytest.mark.slow
def test_pressure_of_npt_is_the_one_asked_for_and_volumes_agree_with_nvt():
    """At the mean volume of npt, the pressure of nvt is that of the barostat."""
    baths = Baths(
        ensemble="npt",
        timestep=2.0,
        tdamp=50.0,
        pdamp=100.0,
        compressibility=4e-5,
        pressure=12_000.0,
    )
    run = start(SoftSpheres(), lattice(), baths, nreplicas=32)
    found = series(run, 3000, ("volume", "pressure"), every=10)
    error = standard_error(found["pressure"])
    assert abs(found["pressure"][60:].mean() - 12_000.0) < 3 * error
    edge = float(found["volume"][60:].mean()) ** (1 / 3) / 3
    fixed = start(SoftSpheres(), lattice(spacing=edge), NVT["nhc"], nreplicas=32)
    pressures = series(fixed, 2000, ("pressure",), every=10)["pressure"]
    both = np.hypot(error, standard_error(pressures))
    # Ensembles differ by the order of 1/N, here a few percent.
    assert abs(pressures[40:].mean() - 12_000.0) < 3 * both + 0.02 * 12_000.0
