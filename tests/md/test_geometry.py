"""Geometry optimisation and phonons of silicon with a small model that was trained.

``tests/data/silicon.pth``: [8, 16] x 4, rcut 4 Å, fitting [16, 16], 1000 steps on the
data of the demo; validation forces within 0.04 eV/Å. ``tests/data/water.pth`` likewise,
fitting [24, 24], 2000 steps on 159 frames of eight water molecules (PBE); 0.09 eV/Å.
"""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.filters import UnitCellFilter
from ase.io import read
from ase.optimize import BFGS, FIRE

from dpbench.md.ase_calculator import DPCalculator
from dpbench.models.checkpoint import load_model
from dpbench.models.deepmd_file import write_deepmd
from tests.conftest import absent
from tests.md import silicon_phonons
from tests.md.silicon_phonons import LATTICE, frequencies

DATA = Path(__file__).parents[1] / "data"
SILICON, WATER = DATA / "silicon.pth", DATA / "water.pth"


def disturbed() -> Atoms:
    """Silicon under tension, with an atom off its place and the cell sheared."""
    atoms = bulk("Si", a=5.6)
    atoms.positions[0] += [0.1, 0.05, -0.03]
    shear = np.eye(3)
    shear[0, 1] = 0.03
    atoms.set_cell(atoms.cell @ shear, scale_atoms=True)
    atoms.calc = DPCalculator(SILICON)
    return atoms


@pytest.mark.parametrize("optimiser", [BFGS, FIRE])
def test_cell_and_atoms_relax_until_forces_and_stress_vanish(optimiser):
    atoms = disturbed()
    energies = [atoms.get_potential_energy()]
    assert np.abs(atoms.get_stress()).max() > 0.03  # eV/Å^3
    run = optimiser(UnitCellFilter(atoms), logfile=None)
    run.attach(lambda: energies.append(atoms.get_potential_energy()))
    assert run.run(fmax=1e-4, steps=400)
    assert energies[-1] < energies[0] - 0.1
    assert np.abs(atoms.get_forces()).max() < 1e-4
    assert np.abs(atoms.get_stress()).max() < 1e-5
    # All bonds of diamond are equal, whatever the start was.
    bonds = atoms.cell.lengths() / np.sqrt(2) * np.sqrt(3) / 2
    np.testing.assert_allclose(bonds, LATTICE * np.sqrt(3) / 4, atol=1e-3)
    np.testing.assert_allclose(atoms.cell.angles(), 60, atol=0.02)


def test_energy_falls_at_every_step_of_a_descent():
    """Each is below the one before, or forces and energies would not belong."""
    atoms = read(DATA / "water8.extxyz")
    atoms.calc = DPCalculator(WATER)
    energies = []
    for _ in range(30):
        energies.append(atoms.get_potential_energy())
        atoms.positions += 2e-3 * atoms.get_forces()
    assert (np.diff(energies) < 0).all()


@pytest.mark.deepmd
@pytest.mark.slow
@pytest.mark.parametrize("is_exact", [True, False])
def test_phonons_are_those_of_deepmd_kit(tmp_path, is_exact, figures):
    python = os.environ.get("DPBENCH_DEEPMD_PYTHON")
    if not python:
        absent("deepmd", "DPBENCH_DEEPMD_PYTHON is not set")
    write_deepmd(tmp_path / "m.dp", load_model(SILICON)[0])
    words = [Path(python).parent / "dp", "convert-backend", "m.dp", "m.pth"]
    peer = [python, silicon_phonons.__file__, "m.pth", tmp_path / "theirs", "out.npy"]
    for command in (words, peer):
        done = subprocess.run(
            list(map(str, command)),
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1", "DP_INTERFACE_PREC": "high"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
    calculator = DPCalculator(SILICON, is_exact=is_exact)
    ours = frequencies(calculator, tmp_path / "ours")
    theirs = np.load(tmp_path / "out.npy")
    gap = np.abs(ours - theirs).max()
    figures(
        f"phonons of Si, exact {is_exact}: within {gap:.1e} of {ours.max():.2f} THz"
    )
    # The optical branch of silicon is at 15.5 THz.
    assert 10 < ours.max() < 20
    assert gap < 1e-3
