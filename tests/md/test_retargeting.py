"""Targets of a run may move, for ramps; its ensemble may not."""

from dataclasses import replace

import pytest

from dpbench.errors import SimulationError
from dpbench.md.settings import Baths
from tests.md.analytic import SoftSpheres, lattice, start


def liquid(baths):
    return start(SoftSpheres(), lattice(4, 2.2), baths)


@pytest.mark.parametrize("thermostat", ["nhc", "bussi", "langevin"])
def test_a_run_follows_its_temperature(thermostat):
    baths = Baths(
        ensemble="nvt",
        thermostat=thermostat,
        temperature=100.0,
        timestep=2.0,
        tdamp=20.0,
    )
    dynamics = liquid(baths)
    means = []
    for target in (100.0, 400.0):
        dynamics.retarget(replace(baths, temperature=target))
        found = []
        for step in range(800):
            dynamics.step()
            if step >= 200:
                found.append(float(dynamics.state.temperature(dynamics.dof)[0]))
        means.append(sum(found) / len(found))
    assert means == pytest.approx([100.0, 400.0], rel=0.15)
    assert dynamics.state.step == 1600


def test_a_run_follows_its_pressure():
    baths = Baths(
        ensemble="npt",
        temperature=100.0,
        timestep=2.0,
        tdamp=20.0,
        pdamp=100.0,
        pressure=1e3,
    )
    dynamics = liquid(baths)
    volumes = []
    for target in (1e3, 5e4):
        dynamics.retarget(replace(baths, pressure=target))
        for _ in range(400):
            dynamics.step()
        volumes.append(float(dynamics.state.volume()[0]))
    assert volumes[1] < 0.9 * volumes[0]


@pytest.mark.parametrize(
    "other",
    [{"ensemble": "nve"}, {"thermostat": "langevin"}, {"timestep": 1.0}],
)
def test_another_ensemble_is_another_run(other):
    baths = Baths(ensemble="nvt", timestep=2.0)
    with pytest.raises(SimulationError, match="Start another run"):
        liquid(baths).retarget(replace(baths, **other))
