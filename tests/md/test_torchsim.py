"""torch-sim's interface: its own validation, and the numbers of the ASE calculator."""

import json
import sys

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import read

from dpbench.errors import SimulationError
from dpbench.md.ase_calculator import DPCalculator
from dpbench.md.torchsim import SystemForces, make_model
from dpbench.models.checkpoint import save_model
from dpbench.models.config import EnergyFittingConfig, ModelConfig, SeE2AConfig
from dpbench.models.potential import DeepPotential
from tests.md.foreign import run_beside
from tests.models.structures import model, statistics, water

SCRIPT = """
import json, sys
import torch
import torch_sim as ts
from ase.io import read
from torch_sim.models.interface import ModelInterface, validate_model_outputs
from dpbench.md.torchsim import make_model

task, file, precision, *structures = sys.argv[1:]
model = make_model(file, precision=precision)
assert isinstance(model, ModelInterface)
dtype = getattr(torch, precision)
out = {}
if task == "validate":
    validate_model_outputs(model, torch.device("cpu"), dtype)
    assert model.compute_stress and model.compute_forces
if task == "forces":
    state = ts.io.atoms_to_state(
        [read(name) for name in structures], torch.device("cpu"), dtype
    )
    out = {name: value.tolist() for name, value in model(state).items()}
if task == "nve":
    state = ts.io.atoms_to_state(
        [read(name) for name in structures], torch.device("cpu"), dtype
    )
    step = 1e-4 * ts.units.MetalUnits.time  # 0.1 fs
    start, update = ts.nve(
        model,
        dt=torch.tensor(float(step), dtype=dtype),
        kT=torch.tensor(0.025, dtype=dtype),
        seed=1,
    )
    state = start(state)
    out = {"kinetic": [], "potential": []}
    for _ in range(200):
        state = update(state)
        kinetic = ts.calc_kinetic_energy(
            momenta=state.momenta, masses=state.masses, system_idx=state.system_idx
        )
        out["kinetic"].append(kinetic.tolist())
        out["potential"].append(state.energy.tolist())
print(json.dumps(out))
"""


def silicon_and_iron(folder):
    """A model of what torch-sim validates with, dense enough for its crystals."""
    config = ModelConfig(
        type_map=("Si", "Fe"),
        descriptor=SeE2AConfig(
            rcut=4.0, rcut_smth=1.0, sel=(40, 60), neuron=(4, 8), axis_neuron=3
        ),
        fitting=EnergyFittingConfig(neuron=(10, 10)),
    )
    path = folder / "sife.pth"
    save_model(path, DeepPotential.initialise(config, statistics(), 3), {})
    return path


def structures(folder):
    """Water of two sizes, as files and as structures."""
    found = []
    for seed, natoms in ((1, 9), (3, 6)):
        frame = water(seed, natoms=natoms)
        found.append(
            Atoms(numbers=frame.z, positions=frame.coord, cell=frame.box[0], pbc=True)
        )
        found[-1].write(folder / f"{seed}.extxyz")
        found[-1] = read(folder / f"{seed}.extxyz")  # eight digits
    save_model(folder / "m.pth", model(), {})
    return found


def tensors(images):
    """Systems as torch-sim lays them, with rows as cell vectors."""
    counts = torch.tensor([len(atoms) for atoms in images])
    return {
        "positions": torch.cat([torch.tensor(atoms.positions) for atoms in images]),
        "row_vector_cell": torch.stack(
            [torch.tensor(atoms.cell.array) for atoms in images]
        ),
        "atomic_numbers": torch.cat([torch.tensor(atoms.numbers) for atoms in images]),
        "system_idx": torch.repeat_interleave(torch.arange(len(images)), counts),
    }


def check(found, images, *, is_exact):
    first = 0
    for index, atoms in enumerate(images):
        atoms.calc = DPCalculator(model(), is_exact=is_exact)
        rows = slice(first, first := first + len(atoms))
        wanted = {
            "energy": (found["energy"][index], atoms.get_potential_energy()),
            "forces": (found["forces"][rows], atoms.get_forces()),
            "stress": (found["stress"][index], atoms.get_stress(voigt=False)),
            "energies": (found["energies"][rows], atoms.get_potential_energies()),
        }
        for one, other in wanted.values():
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("pbc", [True, [True] * 3, torch.ones(3, dtype=torch.bool)])
def test_systems_give_what_ase_gives(tmp_path, pbc):
    images = structures(tmp_path)
    systems = SystemForces(model())
    check(systems.evaluate(**tensors(images), pbc=pbc), images, is_exact=True)
    assert all(
        value.dtype == torch.float64
        for value in systems.evaluate(**tensors(images), pbc=pbc).values()
    )


def test_what_is_not_periodic_has_no_stress(tmp_path):
    images = structures(tmp_path)
    found = SystemForces(model()).evaluate(**tensors(images), pbc=False)
    assert not found["stress"].any()
    images[0].pbc = False
    images[0].calc = DPCalculator(model(), is_exact=True)
    np.testing.assert_allclose(
        found["forces"][: len(images[0])], images[0].get_forces(), atol=1e-10
    )


def test_without_torch_sim_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_sim", None)
    monkeypatch.setitem(sys.modules, "torch_sim.models.interface", None)
    with pytest.raises(SimulationError, match="pip install torch-sim-atomistic"):
        make_model(model())


@pytest.mark.backends
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_torch_sim_validates_the_model(tmp_path, precision):
    run_beside("torchsim", SCRIPT, "validate", silicon_and_iron(tmp_path), precision)


@pytest.mark.backends
def test_forces_in_torch_sim_are_those_of_ase(tmp_path):
    images = structures(tmp_path)
    names = [tmp_path / "1.extxyz", tmp_path / "3.extxyz"]
    out = run_beside(
        "torchsim", SCRIPT, "forces", tmp_path / "m.pth", "float64", *names
    )
    check(json.loads(out.splitlines()[-1]), images, is_exact=False)


@pytest.mark.backends
def test_energy_is_conserved_in_torch_sim(tmp_path, figures):
    structures(tmp_path)
    names = [tmp_path / "1.extxyz", tmp_path / "3.extxyz"]
    out = run_beside("torchsim", SCRIPT, "nve", tmp_path / "m.pth", "float64", *names)
    found = json.loads(out.splitlines()[-1])
    kinetic, potential = np.array(found["kinetic"]), np.array(found["potential"])
    swing, span = np.ptp(kinetic + potential, axis=0), np.ptp(kinetic, axis=0)
    figures(f"torch-sim: total energies within {swing} eV, kinetic within {span}")
    assert (span > 0.01).all()
    assert (swing < 2e-3 * span).all()
