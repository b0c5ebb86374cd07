"""The ASE calculator: signs, order, and a neighbour list that is searched rarely."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.calculators import calculator
from ase.io import read, write
from ase.md.verlet import VelocityVerlet

from dpbench.errors import DpbenchError, ModelError
from dpbench.md.ase_calculator import DPCalculator
from dpbench.md.ase_plugin import register
from dpbench.models.checkpoint import save_model
from dpbench.models.compressed import compress
from dpbench.models.deepmd_file import write_deepmd
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


def images():
    """Structures that differ in number, cell, periodicity and composition."""
    slab = atoms_of(water(3, natoms=6))
    slab.pbc = [True, True, False]
    return [
        atoms_of(water(1)),
        atoms_of(water(2, natoms=5, box=None)),
        slab,
        atoms_of(water(4, natoms=1, box=None)),
    ]


@pytest.mark.parametrize("atoms_per_batch", [1, 8, 512])
@pytest.mark.parametrize("potential", [model(), compress(model())])
def test_many_structures_give_what_each_gives_alone(potential, atoms_per_batch):
    calc = DPCalculator(potential)
    found = calc.evaluate_many(images(), atoms_per_batch=atoms_per_batch)
    for atoms, results in zip(images(), found, strict=True):
        atoms.calc = DPCalculator(potential)
        atoms.get_forces()
        assert results.keys() == atoms.calc.results.keys()
        for name, value in atoms.calc.results.items():
            np.testing.assert_allclose(results[name], value, rtol=1e-10, atol=1e-11)
    assert calc.results == {}


def test_no_structures_give_no_results():
    assert DPCalculator(model()).evaluate_many([]) == []


def test_the_structure_at_fault_is_named_among_many():
    broken = images()
    broken[2].positions[0, 1] = np.nan
    with pytest.raises(ModelError, match="structure 2: a position is no number"):
        DPCalculator(model()).evaluate_many(broken)
    crowded = DPCalculator(model(sel=(2, 3)))
    with pytest.raises(ModelError, match="structure 0"):
        crowded.evaluate_many([atoms_of(water(1))])


@pytest.mark.parametrize("suffix", ["pth", "dp", "yaml"])
def test_a_file_gives_the_calculator_of_its_model(tmp_path, suffix):
    """What a file is, its content tells; ``weights`` has no suffix at all."""
    written, path = tmp_path / f"m.{suffix}", tmp_path / "weights"
    if suffix == "pth":
        save_model(written, model(), {})
    else:
        write_deepmd(written, model())
    written.rename(path)
    atoms = atoms_of(water())
    atoms.calc = DPCalculator(model())
    wanted = atoms.get_forces()
    for calc in (DPCalculator(path), DPCalculator.load(str(path))):
        atoms.calc = calc
        np.testing.assert_allclose(atoms.get_forces(), wanted, atol=1e-12)


def test_a_file_that_is_no_model_is_told(tmp_path):
    (tmp_path / "m.pth").write_text("no model")
    for name in ("m.pth", "missing.pth"):
        with pytest.raises(ModelError, match=name):
            DPCalculator.load(tmp_path / name)


def test_a_file_brings_what_its_training_did(tmp_path):
    told = {"config": {"training": {"sel_overflow": "deepmd"}}}
    save_model(tmp_path / "m.pth", model(sel=(2, 3)), told)
    atoms = atoms_of(water())
    atoms.calc = DPCalculator(tmp_path / "m.pth")
    assert np.isfinite(atoms.get_potential_energy())
    assert np.isfinite(atoms.calc.evaluate_many([atoms])[0]["energy"])


def test_precision_of_a_file_can_be_chosen(tmp_path):
    save_model(tmp_path / "m.pth", model(), {})
    assert (
        DPCalculator(tmp_path / "m.pth", precision="float32").model.dtype.itemsize == 4
    )


def test_ase_finds_the_calculator_by_name():
    """The second registration does nothing."""
    before = dict(calculator.external_calculators), list(calculator.names)
    try:
        register()
        register()
        assert calculator.get_calculator_class("dpbench") is DPCalculator
    finally:
        calculator.external_calculators.clear()
        calculator.external_calculators.update(before[0])
        calculator.names[:] = before[1]


def test_ase_finds_the_calculator_among_plugins():
    plugins = pytest.importorskip("ase._4.plugins")
    group = plugins.PluginCollection.from_entry_points().calculators
    (found,) = [plugin for plugin in group if plugin.name == "dpbench"]
    assert found() is DPCalculator


def test_ase_run_takes_the_calculator(tmp_path):
    save_model(tmp_path / "m.pth", model(), {})
    write(tmp_path / "s.extxyz", atoms_of(water()))
    words = ["run", "dpbench", "s.extxyz", "-p", "model=m.pth", "-o", "out.extxyz"]
    done = subprocess.run(
        [sys.executable, "-m", "dpbench.md.ase_plugin", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    atoms = atoms_of(water())
    atoms.calc = DPCalculator(model())
    found = read(tmp_path / "out.extxyz").get_forces()
    np.testing.assert_allclose(found, atoms.get_forces(), atol=1e-7)
