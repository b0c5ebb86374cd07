"""What a run begins with: velocities of a file, atoms at rest, atoms too close."""

from dataclasses import replace

import ase.io
import numpy as np
import pytest
import torch
from ase import units

from dpbench.errors import SimulationError
from dpbench.md.restart import read_restart
from dpbench.md.run import go_on, start_run
from dpbench.md.settings import Baths
from dpbench.md.velocities import twice_kinetic
from dpbench.units import AMU, BOLTZMANN
from tests.md.test_dynamics import exact, water_run
from tests.md.test_md_runs import config, rows


def with_velocities(folder, path, velocity, *, shift=None):
    """The start structure with these velocities, Å/ps; two atoms ``shift`` Å apart."""
    atoms = ase.io.read(folder / "s.extxyz")
    if shift is not None:
        atoms.positions[5] = atoms.positions[2] + [shift, 0.0, 0.0]
    atoms.set_velocities(velocity * 1e-3 / units.fs)
    ase.io.write(path, atoms)
    return str(path)


def test_the_record_tells_what_was_taken_from_velocities_of_a_file(md_files, tmp_path):
    own = np.random.default_rng(1).normal(size=(12, 3))
    mass = ase.io.read(md_files / "s.extxyz").get_masses()
    own -= mass @ own / mass.sum()
    drift = np.array([3.0, -1.0, 0.5])
    where = with_velocities(md_files, tmp_path / "v.extxyz", own + drift)
    settings = config(md_files, structure=where, velocities="file", steps=5)
    start_run(settings, tmp_path / "run")
    record = go_on(tmp_path / "run", steps=10).record
    told = record["velocities"]
    assert told["from"] == "file"
    assert told["centre_of_mass_removed_ang_per_ps"] == pytest.approx(drift, abs=1e-5)
    removed = 0.5 * mass.sum() * AMU * drift @ drift
    assert told["kinetic_removed_ev"] == pytest.approx(removed, rel=1e-4)
    first = rows(tmp_path / "run/observables.csv")[0]
    temperature = 2 * told["kinetic_ev"] / (33 * BOLTZMANN)
    assert float(first["temperature_k"]) == pytest.approx(temperature, rel=1e-6)
    record = start_run(config(md_files, steps=1), tmp_path / "drawn").record
    assert record["velocities"] == {"from": "draw"}


def test_atoms_at_rest_are_refused_by_a_thermostat_that_scales(md_files, tmp_path):
    same = np.full((12, 3), 2.0)
    where = with_velocities(md_files, tmp_path / "v.extxyz", same)
    settings = config(md_files, structure=where, velocities="file", steps=3)
    start_run(replace(settings, baths=Baths(ensemble="nvt")), tmp_path / "nhc")
    baths = Baths(ensemble="nvt", thermostat="bussi")
    with pytest.raises(SimulationError, match="replica 0: its atoms are at rest"):
        start_run(replace(settings, baths=baths), tmp_path / "bussi")
    assert not (tmp_path / "bussi").exists()


@pytest.mark.parametrize("overflow", ["error", "deepmd"])
def test_edges_shorter_than_the_tables_are_counted_over_restarts(
    md_files, tmp_path, overflow
):
    """By the kernels with a list of their own, and by batches."""
    still = np.zeros((12, 3))
    where = with_velocities(md_files, tmp_path / "v.extxyz", still, shift=0.3)
    settings = config(
        md_files,
        structure=where,
        velocities="file",
        steps=20,
        sel_overflow=overflow,
        max_temperature=1e9,
        baths={"timestep": 0.01},
    )
    start_run(settings, tmp_path / "a")
    start_run(replace(settings, steps=9), tmp_path / "b")
    go_on(tmp_path / "b", steps=20)
    whole, parts = (
        read_restart(tmp_path / x / "restart.npz").header["extended"] for x in "ab"
    )
    assert whole == parts >= 21


def test_the_kinetic_energy_follows_when_momentum_is_taken_out():
    """Planted: the centre of mass moves, and the step takes that out."""
    dynamics = water_run(exact, Baths(timestep=0.1, zero_every=1), natoms=12)
    state = dynamics.state
    state.velocity += 2.0
    dynamics.step()
    torch.testing.assert_close(state.twice_kinetic(), twice_kinetic(state))
    momentum = torch.einsum("a,rac->rc", state.mass, state.velocity)
    assert float(momentum.abs().max()) < 1e-12
