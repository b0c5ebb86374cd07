"""Steps: reversible, second order, conserving; the same as ASE's and in plain torch."""

from dataclasses import replace

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet

from dpbench.kernels.motion import reference
from dpbench.md.ase_calculator import DPCalculator
from dpbench.md.dynamics import Dynamics
from dpbench.md.forces import BatchForces, TabulatedForces
from dpbench.md.observables import observe
from dpbench.md.output.text import ExtxyzTrajectory
from dpbench.md.settings import Baths
from dpbench.md.state import Structure, start_state
from dpbench.md.structures import read_structure
from dpbench.md.velocities import draw_velocities, remove_momentum, scale_to
from dpbench.models.compressed import compress
from tests.md.analytic import SoftSpheres, lattice, start
from tests.models.structures import model, water

ENSEMBLES = {
    "nve": Baths(timestep=2.0),
    "langevin": Baths(ensemble="langevin", timestep=2.0),
    "nvt": Baths(ensemble="nvt", timestep=2.0),
    "bussi": Baths(ensemble="nvt", thermostat="bussi", timestep=2.0),
    "npt": Baths(ensemble="npt", timestep=2.0, pressure=4e4, pdamp=300.0),
    "npt-langevin": Baths(
        ensemble="npt",
        thermostat="langevin",
        timestep=2.0,
        pressure=4e4,
        pdamp=300.0,
        couple="aniso",
    ),
}


def water_structure(**options):
    frames = water(**options)
    return Structure(
        where="water",
        z=frames.z.astype(int),
        coord=frames.coord,
        box=np.nan_to_num(frames.box[0]),
        pbc=frames.pbc[0],
    )


def water_run(make_field, baths, *, nreplicas=1, temperature=50.0, **options):
    structure = water_structure(**options)
    state = start_state(structure, nreplicas=nreplicas)
    drawn = draw_velocities(
        state.mass.numpy(), temperature, seed=2, nreplicas=nreplicas
    )
    state.velocity.copy_(torch.from_numpy(drawn))
    remove_momentum(state)
    generator = torch.Generator().manual_seed(3)
    dynamics = Dynamics(make_field(structure.z), state, baths, generator=generator)
    dynamics.start()
    return dynamics


def exact(z, **options):
    return BatchForces(model(), z, skin=0.6, **options)


@pytest.mark.parametrize("box", [True, False])
def test_nve_follows_ase_step_by_step(box):
    options = {} if box else {"box": None}
    baths = Baths(timestep=0.2, zero_every=0)
    dynamics = water_run(exact, baths, natoms=12, **options)
    state = dynamics.state
    atoms = Atoms(
        numbers=state.z,
        positions=state.coord[0].numpy(),
        cell=state.box[0].numpy(),
        pbc=state.pbc,
    )
    per_time = units.fs * 1000  # ASE's time in a picosecond
    atoms.set_velocities(state.velocity[0].numpy() / per_time)
    atoms.calc = DPCalculator(model(), skin=0.6, is_exact=True)
    other = VelocityVerlet(atoms, timestep=0.2 * units.fs)
    for _ in range(60):
        dynamics.step()
        other.run(1)
        # ASE's atomic mass unit is CODATA 2014: 5e-9 from ours.
        np.testing.assert_allclose(state.coord[0], atoms.positions, atol=1e-7)
        potential = atoms.get_potential_energy()
        assert float(state.energy[0]) == pytest.approx(potential, abs=1e-6)
    kinetic = 0.5 * float(state.twice_kinetic()[0])
    assert kinetic == pytest.approx(atoms.get_kinetic_energy(), rel=1e-6)
    assert dynamics.neighbours.builds > 1 or not box


@pytest.mark.parametrize("name", ["nve", "nvt"])
def test_dynamics_is_reversible(name):
    baths = ENSEMBLES[name]
    dynamics = start(SoftSpheres(), lattice(), baths, nreplicas=2)
    state = dynamics.state
    before = state.coord.clone()
    for _ in range(150):
        dynamics.step()
    assert float((state.coord - before).abs().max()) > 0.5
    state.velocity.neg_()
    if name == "nvt":
        state.bath["chain_rate"].neg_()
    for _ in range(150):
        dynamics.step()
    torch.testing.assert_close(state.coord, before, rtol=0, atol=1e-7)


def energy_noise(baths, *, steps):
    dynamics = start(SoftSpheres(), lattice(), baths, nreplicas=2)
    begin, worst = dynamics.conserved(), 0.0
    for _ in range(steps):
        dynamics.step()
        worst = max(worst, float((dynamics.conserved() - begin).abs().max()))
    return worst


@pytest.mark.parametrize("name", ["nve", "langevin", "nvt", "npt", "npt-langevin"])
def test_conserved_energy_errs_by_the_square_of_the_step(name):
    """Where noise is counted as heat, too: what is left is discretisation."""
    base = ENSEMBLES[name]
    coarse = energy_noise(replace(base, timestep=4.0), steps=40)
    fine = energy_noise(replace(base, timestep=1.0), steps=160)
    # Random numbers differ between the two where there is noise.
    low, high = (12.0, 20.0) if name in ("nve", "nvt") else (5.0, 60.0)
    assert low < coarse / fine < high
    assert coarse / 27 < 2e-3


@pytest.mark.parametrize("name", list(ENSEMBLES))
def test_torch_moves_atoms_as_numba_does(name):
    runs = []
    for moves in (None, reference):
        dynamics = start(SoftSpheres(), lattice(), ENSEMBLES[name], nreplicas=3)
        if moves is not None:
            dynamics._moves = dynamics.neighbours._moves = moves
            for part in (dynamics._chains, dynamics._rescaling):
                if part is not None:
                    part._moves = moves
        for _ in range(30):
            dynamics.step()
        runs.append(dynamics)
    for field in ("coord", "velocity", "box", "kinetic", "heat"):
        ours, plain = (getattr(run.state, field) for run in runs)
        torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-10)
    assert float(runs[0].state.coord.std()) > 1


def test_tabulated_replicas_run_as_each_alone():
    """The compiled kernels, three replicas at once, against the exact model."""
    baths = Baths(timestep=0.2)
    three = water_run(
        lambda z: TabulatedForces(compress(model()), z, nreplicas=3, skin=0.6),
        baths,
        nreplicas=3,
        natoms=12,
    )
    plain = water_run(exact, baths, nreplicas=3, natoms=12)
    for _ in range(40):
        three.step()
        plain.step()
    torch.testing.assert_close(three.state.coord, plain.state.coord, rtol=0, atol=2e-4)
    apart = three.state.coord[0] - three.state.coord[1]
    assert float(apart.abs().max()) > 1e-2


def test_momentum_of_every_replica_is_zero_and_stays():
    dynamics = start(SoftSpheres(), lattice(), ENSEMBLES["nvt"], nreplicas=3)
    for _ in range(250):
        dynamics.step()
    state = dynamics.state
    momentum = torch.einsum("a,rac->rc", state.mass, state.velocity)
    assert float(momentum.abs().max()) < 1e-14
    assert dynamics.dof == 3 * 27 - 3


def test_a_lone_atom_keeps_its_three_degrees_of_freedom():
    structure = Structure(
        where="atom",
        z=np.array([10]),
        coord=np.zeros((1, 3)),
        box=np.zeros((3, 3)),
        pbc=np.zeros(3, dtype=bool),
    )
    dynamics = start(SoftSpheres(), lattice(), ENSEMBLES["nve"])
    assert dynamics.dof == 78
    state = start_state(structure)
    state.velocity += 1.0
    remove_momentum(state)
    assert float(state.velocity.min()) == 1.0
    scale_to(state, 300.0, 3)
    twice = torch.einsum("a,rac,rac->r", state.mass, state.velocity, state.velocity)
    assert float(twice[0]) == pytest.approx(3 * 300 * 8.617333262e-5)


def test_a_list_is_built_before_a_pair_can_be_missed():
    """Under a barostat that stretches the cell, forces stay those of a new list."""
    baths = Baths(
        ensemble="npt", timestep=0.2, pressure=-2e4, pdamp=30.0, couple="aniso"
    )
    dynamics = water_run(
        lambda z: TabulatedForces(compress(model()), z, nreplicas=2, skin=0.4),
        baths,
        nreplicas=2,
        natoms=12,
    )
    state, volume = dynamics.state, float(dynamics.state.volume()[0])
    fresh = TabulatedForces(compress(model()), state.z, nreplicas=2, skin=0.0)
    for _ in range(120):
        dynamics.step()
        coord = state.coord.reshape(-1, 3)
        fresh.build(coord, state.box, state.pbc)
        found = fresh.evaluate(coord, state.box)
        torch.testing.assert_close(
            state.force.reshape(-1, 3), found.force, rtol=0, atol=1e-10
        )
    assert 3 < dynamics.neighbours.builds < 100
    assert abs(float(state.volume()[0]) / volume - 1) > 0.02


def test_velocities_in_files_are_ase_s(tmp_path):
    dynamics = water_run(exact, Baths(timestep=0.2), natoms=12)
    path = tmp_path / "t.extxyz"
    sink = ExtxyzTrajectory([path], ("coord", "velocity", "force"))
    for _ in range(3):
        dynamics.step()
        sink.write(dynamics.state, observe(dynamics))
    sink.close()
    frames = ase.io.read(path, index=":")
    state = dynamics.state
    assert len(frames) == 3
    last = frames[-1]
    np.testing.assert_allclose(last.positions, state.coord[0], atol=1e-8)
    np.testing.assert_allclose(last.cell.array, state.box[0], atol=1e-9)
    np.testing.assert_allclose(last.get_forces(), state.force[0], atol=1e-8)
    assert last.get_potential_energy() == pytest.approx(float(state.energy[0]))
    kinetic = 0.5 * float(state.twice_kinetic()[0])
    assert last.get_kinetic_energy() == pytest.approx(kinetic, rel=1e-6)
    again = read_structure(f"{path}@2")
    np.testing.assert_allclose(again.velocity, state.velocity[0], atol=1e-6)
