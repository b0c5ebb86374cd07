"""The force in OpenMM: units, forces, a part of a system, energy conservation."""

import json
import shutil
import sys
from types import ModuleType

import numpy as np
import pytest
from ase.io import read

from dpbench.errors import SimulationError
from dpbench.md.ase_calculator import DPCalculator
from dpbench.md.openmm import EV, make_force
from tests.md.foreign import run_beside

SCRIPT = """
import json, sys
import numpy as np
import openmm
import openmm.app
from openmm import unit
from ase.io import read
from dpbench.md.openmm import atomic_numbers, make_force

model, structure, is_periodic, task = sys.argv[1:]
is_periodic = bool(int(is_periodic))
atoms = read(structure)
system = openmm.System()
topology = openmm.app.Topology()
residue = topology.addResidue("all", topology.addChain())
for number, mass in zip(atoms.numbers, atoms.get_masses()):
    element = openmm.app.Element.getByAtomicNumber(int(number))
    topology.addAtom(element.symbol, element, residue)
    system.addParticle(mass)
z = atomic_numbers(topology)
particles = ()
if task == "part":
    # A ghost before the atoms, which the model does not see.
    system = openmm.System()
    for mass in [1.0, *atoms.get_masses()]:
        system.addParticle(mass)
    particles = range(1, len(z) + 1)
system.addForce(make_force(model, z, is_periodic=is_periodic, particles=particles))
if is_periodic:
    system.setDefaultPeriodicBoxVectors(*(np.array(atoms.cell) / 10))
integrator = openmm.VerletIntegrator(0.1 * unit.femtoseconds)
platform = openmm.Platform.getPlatformByName("Reference")
context = openmm.Context(system, integrator, platform)
positions = atoms.positions / 10
if task == "part":
    positions = np.vstack([[[1.0, 2.0, 3.0]], positions])
context.setPositions(positions)
state = context.getState(energy=True, forces=True)
out = {
    "version": openmm.__version__,
    "energy": state.getPotentialEnergy().value_in_unit(unit.kilojoules_per_mole),
    "forces": state.getForces(asNumpy=True)._value.tolist(),
}
if task == "nve":
    totals, kinetic = [], []
    context.setVelocitiesToTemperature(300, 7)
    for _ in range(100):
        integrator.step(2)
        state = context.getState(energy=True)
        kinetic.append(state.getKineticEnergy()._value)
        totals.append(state.getPotentialEnergy()._value + kinetic[-1])
    out |= {"totals": totals, "kinetic": kinetic}
print(json.dumps(out))
"""


def openmm(folder, task, *, is_periodic=True):
    name = "s.extxyz" if is_periodic else "open.xyz"
    words = [folder / "m.pth", folder / name, int(is_periodic), task]
    return json.loads(run_beside("openmm", SCRIPT, *words).splitlines()[-1])


@pytest.fixture
def files(md_files, tmp_path):
    """The structure as OpenMM's lower triangular cells have it, and one without."""
    shutil.copy(md_files / "m.pth", tmp_path)
    atoms = read(md_files / "s.extxyz")
    atoms.set_cell(atoms.cell.cellpar(), scale_atoms=True)
    atoms.write(tmp_path / "s.extxyz")
    atoms.pbc = False
    atoms.cell = np.zeros((3, 3))
    atoms.write(tmp_path / "open.xyz", format="extxyz")
    return tmp_path


@pytest.mark.backends
@pytest.mark.parametrize("is_periodic", [True, False])
@pytest.mark.parametrize("task", ["forces", "part"])
def test_forces_in_openmm_are_those_of_ase(files, task, is_periodic):
    atoms = read(files / ("s.extxyz" if is_periodic else "open.xyz"))
    atoms.calc = DPCalculator(files / "m.pth")
    found = openmm(files, task, is_periodic=is_periodic)
    assert found["energy"] == pytest.approx(atoms.get_potential_energy() * EV, rel=1e-9)
    forces = np.array(found["forces"])
    if task == "part":
        assert not forces[0].any()
        forces = forces[1:]
    np.testing.assert_allclose(forces, atoms.get_forces() * EV * 10, atol=1e-5)


@pytest.mark.backends
def test_energy_is_conserved_in_openmm(files, figures):
    found = openmm(files, "nve")
    totals, kinetic = np.array(found["totals"]), np.array(found["kinetic"])
    swing = np.ptp(totals)
    figures(
        f"OpenMM {found['version']}: total energy within {swing:.2g} kJ/mol in 20 fs, "
        f"kinetic between {kinetic.min():.3g} and {kinetic.max():.3g}"
    )
    assert np.ptp(kinetic) > 1
    assert swing < 1e-3 * np.ptp(kinetic)


def test_without_openmm_it_is_told(monkeypatch, md_files):
    monkeypatch.setitem(sys.modules, "openmm", None)
    with pytest.raises(SimulationError, match="pip install openmm"):
        make_force(md_files / "m.pth", [8, 1, 1], is_periodic=False)


def test_an_openmm_without_python_forces_is_told(monkeypatch, md_files):
    old = ModuleType("openmm")
    old.__version__ = "8.3"
    monkeypatch.setitem(sys.modules, "openmm", old)
    with pytest.raises(SimulationError, match=r"version 8\.3"):
        make_force(md_files / "m.pth", [8, 1, 1], is_periodic=False)


def test_indices_and_numbers_must_agree(monkeypatch, md_files):
    new = ModuleType("openmm")
    new.PythonForce = object
    monkeypatch.setitem(sys.modules, "openmm", new)
    with pytest.raises(SimulationError, match="2 indices for 3 atomic numbers"):
        make_force(md_files / "m.pth", [8, 1, 1], is_periodic=False, particles=[0, 1])
