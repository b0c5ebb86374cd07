"""The ASE calculator: signs, order, and a neighbour list that is searched rarely."""

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet

from dpbench.errors import DpbenchError, ModelError
from dpbench.md.ase_calculator import DPCalculator
from dpbench.models.compressed import compress
from tests.models.structures import BOX, model, predict, water


def atoms_of(frames):
    has_cell = bool(frames.pbc.all())
    return Atoms(
        numbers=frames.z,
        positions=frames.coord,
        cell=frames.box[0] if has_cell else None,
        pbc=has_cell,
    )


@pytest.mark.parametrize("box", [BOX, None])
@pytest.mark.parametrize("skin", [0.0, 1.5])
def test_results_are_those_of_the_model(box, skin):
    frames, potential = water(box=box), model()
    atoms = atoms_of(frames)
    atoms.calc = DPCalculator(potential, skin=skin)
    found = predict(frames, potential)
    assert atoms.get_potential_energy() == pytest.approx(float(found.energy[0]))
    np.testing.assert_allclose(atoms.get_forces(), found.force, atol=1e-12)
    np.testing.assert_allclose(atoms.get_potential_energies(), found.atom_energy)
    free = atoms.get_potential_energy(force_consistent=True)
    assert free == atoms.get_potential_energy()


def test_stress_is_the_strain_derivative_per_volume():
    atoms = atoms_of(water())
    atoms.calc = DPCalculator(model())
    stress, volume = atoms.get_stress(), atoms.get_volume()
    pairs = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]
    for position, (a, b) in enumerate(pairs):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * 5e-6
            strain[b, a] += sign * 5e-6
            if a == b:
                strain[a, a] = 1 + sign * 5e-6
            strained = atoms.copy()
            strained.set_cell(atoms.cell @ strain, scale_atoms=True)
            strained.calc = DPCalculator(model())
            energies.append(strained.get_potential_energy())
        # An off-diagonal pair strains by 2 x 5e-6 in all.
        size = 1e-5 if a == b else 2e-5
        slope = (energies[0] - energies[1]) / size / volume
        assert stress[position] == pytest.approx(slope, rel=1e-5, abs=1e-7)


def test_without_a_cell_there_is_no_stress():
    atoms = atoms_of(water(box=None))
    atoms.calc = DPCalculator(model())
    atoms.get_forces()
    assert "stress" not in atoms.calc.results


@pytest.mark.parametrize("box", [BOX, None])
def test_a_reused_list_gives_the_forces_of_a_new_one(box):
    rng = np.random.default_rng(3)
    atoms = atoms_of(water(box=box))
    atoms.calc = DPCalculator(model(), skin=1.0)
    for _ in range(12):
        atoms.positions += rng.normal(0, 0.06, atoms.positions.shape)
        fresh = atoms.copy()
        fresh.calc = DPCalculator(model(), skin=0.0)
        np.testing.assert_allclose(atoms.get_forces(), fresh.get_forces(), atol=1e-11)
    assert 1 < atoms.calc.neighbours.searches < 12


def test_wrapping_cell_and_element_changes_are_noticed():
    atoms = atoms_of(water())
    atoms.calc = DPCalculator(model(), skin=1.0)

    def check():
        fresh = atoms.copy()
        fresh.calc = DPCalculator(model(), skin=0.0)
        np.testing.assert_allclose(atoms.get_forces(), fresh.get_forces(), atol=1e-11)

    check()
    atoms.positions[0] += BOX[0]
    check()
    atoms.set_cell(atoms.cell * 1.01, scale_atoms=True)
    check()
    atoms.numbers[0] = 1
    check()
    atoms.pbc = [True, True, False]
    check()
    # One per cent of strain is within the skin: no search is due for it.
    assert atoms.calc.neighbours.searches == 4
    atoms.set_cell(atoms.cell * 1.2, scale_atoms=True)
    check()
    assert atoms.calc.neighbours.searches == 5


def test_energy_is_conserved():
    """Velocity Verlet in float64: the drift over 200 steps is far below kT."""
    atoms = atoms_of(water(natoms=12))
    atoms.calc = DPCalculator(model(), skin=0.5)
    start = atoms.get_total_energy()
    VelocityVerlet(atoms, timestep=0.1 * units.fs).run(200)
    kinetic = atoms.get_kinetic_energy()
    assert kinetic > 1e-3
    assert abs(atoms.get_total_energy() - start) < 1e-2 * kinetic
    assert atoms.calc.neighbours.searches < 100


def test_float32_models_run():
    atoms = atoms_of(water())
    atoms.calc = DPCalculator(model().to("cpu", torch.float32))
    exact = atoms.copy()
    exact.calc = DPCalculator(model())
    np.testing.assert_allclose(atoms.get_forces(), exact.get_forces(), atol=1e-4)


def test_unknown_element_is_named():
    atoms = Atoms("Si2", positions=[[0, 0, 0], [0, 0, 2.3]])
    atoms.calc = DPCalculator(model())
    with pytest.raises(ModelError, match="element Si"):
        atoms.get_potential_energy()


def test_an_exact_calculator_of_a_compressed_model_is_refused():
    with pytest.raises(ModelError, match=r"is_exact: the model is compressed"):
        DPCalculator(compress(model()), is_exact=True)


def test_more_neighbours_than_slots_are_treated_as_in_the_training():
    crowded = model(sel=(2, 3))
    provenance = {"config": {"training": {"sel_overflow": "deepmd"}}}
    atoms = atoms_of(water())
    atoms.calc = DPCalculator(crowded, sel_overflow="deepmd")
    wanted = atoms.get_potential_energy()
    atoms.calc = DPCalculator(crowded, provenance=provenance)
    assert atoms.get_potential_energy() == wanted
    atoms.calc = DPCalculator(crowded, provenance=provenance, sel_overflow="error")
    with pytest.raises(ModelError, match=r'in Python sel_overflow="deepmd"'):
        atoms.get_potential_energy()


def test_a_cell_that_is_flat_is_told():
    atoms = atoms_of(water())
    atoms.set_cell([[5, 0, 0], [5, 0, 0], [0, 0, 5]])
    atoms.calc = DPCalculator(model())
    with pytest.raises(DpbenchError, match="linearly dependent"):
        atoms.get_potential_energy()
