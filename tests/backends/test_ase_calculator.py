"""Calculators of ASE as a backend, through the whole client, by this interpreter."""

import hashlib
import importlib.util
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.morse import MorsePotential

import dpbench.backends
from dpbench.backends.cards import load_card
from dpbench.backends.client import BackendModel, Launch, open_backend
from dpbench.backends.trust import Trust, digest_of
from dpbench.errors import BackendError, BackendRefused
from dpbench.frames import Frames, concatenate, uniform
from dpbench.models.ase_description import KEYS, PLAIN
from dpbench.models.recognise import recognise

WORKERS = Path(dpbench.backends.__file__).parent / "workers"

LJ = """
calculator = "ase.calculators.lj:LennardJones"
type_map = ["Ar", "Ne"]
rcut = 7.0
arguments = { sigma = 3.4, epsilon = 0.0104, rc = 7.0, smooth = true }
"""

MORSE = """
calculator = "ase.calculators.morse:MorsePotential"
type_map = ["Cu"]
arguments = { epsilon = 0.4, r0 = 2.6, rho0 = 3.5, rcut1 = 1.9, rcut2 = 2.3 }
"""

EXACT = 1e-12
STEP = 1e-4
DERIVED = 1e-6
"""eV/Å and eV, between a derivative and its central difference by STEP."""


def launch(**options) -> Launch:
    return Launch(
        name="ase",
        python=Path(sys.executable),
        adapter=WORKERS / "ase_calculator.py",
        env={"OMP_NUM_THREADS": "1"},
        options=options,
        reads_text=True,
    )


def described(folder: Path, text: str, name: str = "m.ase.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def opened(model: Path | None, *, trust: Trust | None = None, **options):
    return open_backend(
        launch(), model, trust=trust or Trust(), options=options, timeout_s=60.0
    )


def moved(symbol: str, *, seed: int, edge: float, strain: float = 0.04) -> Atoms:
    rng = np.random.default_rng(seed)
    atoms = bulk(symbol, "fcc", a=edge, cubic=True)
    atoms.set_cell(
        atoms.cell.array @ (np.eye(3) + strain * rng.normal(size=(3, 3))),
        scale_atoms=True,
    )
    atoms.positions += 0.1 * rng.normal(size=atoms.positions.shape)
    return atoms


def framed(atoms: Atoms) -> Frames:
    is_free = not atoms.pbc.any()
    return uniform(
        z=atoms.numbers,
        coord=atoms.positions[None],
        box=None if is_free else atoms.cell.array[None],
    )


@pytest.fixture(scope="module")
def emt() -> BackendModel:
    with opened(None, calculator=PLAIN[0]) as model:
        yield model


@pytest.fixture(scope="module")
def lennard_jones(tmp_path_factory) -> BackendModel:
    folder = tmp_path_factory.mktemp("lj")
    with opened(described(folder, LJ)) as model:
        yield model


class TestNumbers:
    def test_emt_gives_what_the_calculator_gives_here(self, emt):
        copper, gold = moved("Cu", seed=1, edge=3.7), moved("Au", seed=2, edge=4.1)
        gold.symbols[0] = "Cu"
        frames = concatenate([framed(copper), framed(gold), framed(copper)])
        found = emt.evaluate(frames).predictions
        for index, atoms in enumerate((copper, gold, copper)):
            atoms.calc = EMT()
            rows = frames.atoms_of(index)
            virial = -atoms.get_volume() * atoms.get_stress(voigt=False)
            assert found.energy[index] == pytest.approx(
                atoms.get_potential_energy(), abs=EXACT
            )
            np.testing.assert_allclose(
                found.force[rows], atoms.get_forces(), atol=EXACT
            )
            np.testing.assert_allclose(found.virial[index], virial, atol=EXACT)

    def test_morse_gives_what_the_calculator_gives_here(self, tmp_path):
        atoms = moved("Cu", seed=4, edge=3.7)
        with opened(described(tmp_path, MORSE)) as model:
            found = model.evaluate(framed(atoms)).predictions
        atoms.calc = MorsePotential(epsilon=0.4, r0=2.6, rho0=3.5, rcut1=1.9, rcut2=2.3)
        assert found.energy[0] == pytest.approx(atoms.get_potential_energy(), abs=EXACT)
        np.testing.assert_allclose(found.force, atoms.get_forces(), atol=EXACT)

    def test_force_and_virial_are_derivatives_of_the_energy(self, lennard_jones):
        atoms = moved("Ar", seed=3, edge=5.1)
        atoms.symbols[1] = "Ne"
        coord, box = atoms.positions, atoms.cell.array
        places, boxes = [coord], [box]
        for sign in (1, -1):
            place = coord.copy()
            place[2, 1] += sign * STEP
            strain = np.eye(3)
            strain[0, 2] = strain[2, 0] = sign * STEP / 2
            places += [place, coord @ strain]
            boxes += [box, box @ strain]
        frames = uniform(z=atoms.numbers, coord=np.array(places), box=np.array(boxes))
        found = lennard_jones.evaluate(frames).predictions
        energy = found.energy
        force, virial = -(energy[1:3] - energy[3:5]) / (2 * STEP)
        assert found.force[2, 1] == pytest.approx(force, abs=DERIVED)
        assert found.virial[0, 0, 2] == pytest.approx(virial, abs=DERIVED)
        assert abs(virial) > 100 * DERIVED

    def test_free_atoms_have_no_virial(self, lennard_jones):
        pair = uniform(z=[18, 10], coord=np.array([[[0, 0, 0], [3.7, 0, 0.1]]]))
        found = lennard_jones.evaluate(pair).predictions
        atoms = Atoms(numbers=[18, 10], positions=pair.coord)
        atoms.calc = LennardJones(sigma=3.4, epsilon=0.0104, rc=7.0, smooth=True)
        assert found.energy[0] == pytest.approx(atoms.get_potential_energy(), abs=EXACT)
        np.testing.assert_allclose(found.force, atoms.get_forces(), atol=EXACT)
        assert np.isnan(found.virial).all()

    def test_energies_per_atom_add_up(self, emt):
        frames = framed(moved("Cu", seed=5, edge=3.7))
        answer = emt.evaluate(frames)
        assert answer.atom_energy.sum() == pytest.approx(
            answer.predictions.energy[0], abs=EXACT
        )

    def test_energies_per_atom_are_left_out_on_wish(self, adapter):
        options = {"calculator": PLAIN[0], "atom_energy": False}
        atoms = moved("Cu", seed=5, edge=3.7)
        model = adapter.open_model("", options)
        atype = np.full(4, model.facts["type_map"].index("Cu"))
        coord, box = atoms.positions[None], atoms.cell.array[None]
        found = model.evaluate(coord, box, np.ones(3, bool), atype, {})
        assert sorted(found) == ["energy", "force", "virial"]


class TestFacts:
    def test_emt_knows_its_elements(self, emt):
        assert {"Cu", "Al", "Au"} < set(emt.type_map)
        assert "Fe" not in emt.type_map
        assert emt.facts["precision"] == "float64"
        assert emt.facts["versions"]["ase"]
        with pytest.raises(BackendRefused, match="does not know Fe"):
            emt.evaluate(framed(moved("Fe", seed=1, edge=3.6)))

    def test_a_description_tells_elements_and_cutoff(self, lennard_jones):
        assert lennard_jones.type_map == ("Ar", "Ne")
        assert lennard_jones.facts["rcut"] == 7.0

    def test_the_same_description_in_json(self, tmp_path, adapter):
        toml = adapter.read_description(described(tmp_path, LJ))
        path = described(tmp_path, json.dumps(toml), "m.ase.json")
        assert adapter.read_description(path) == toml
        assert adapter.open_model(str(path), {}).facts["rcut"] == 7.0

    def test_options_stand_above_the_description(self, tmp_path, lennard_jones):
        frames = framed(moved("Ar", seed=6, edge=5.2))
        path = described(tmp_path, LJ)
        with opened(path, arguments={"epsilon": 0.0208}) as model:
            energy = model.evaluate(frames).predictions.energy
        single = lennard_jones.evaluate(frames).predictions.energy
        assert energy == pytest.approx(2 * single, abs=EXACT)

    @pytest.mark.parametrize("name", ["ase", "emt"])
    def test_cards_of_classical_potentials_calculate(self, name):
        card = load_card(name)
        model = card.folder / "check" / card.check.model if card.check.model else None
        with opened(model, **card.options) as potential:
            pair = uniform(
                z=[18, 18] if name == "ase" else [29, 29],
                coord=np.array([[[0, 0, 0], [card.check.spacing, 0, 0]]]),
            )
            assert potential.evaluate(pair).predictions.energy[0] != 0


class Refused(Exception):  # noqa: N818 -- as serve.py names it
    """Stands for the one of serve.py."""


REFUSED = {
    'calculator = "os:system"': "no class of calculators",
    'calculator = "subprocess:Popen"': "no class of calculators",
    'calculator = "ase.calculators.lj"': "expected 'package.module:Class'",
    'calculator = "nowhere.to:Find"': "No module named 'nowhere'",
    'calculator = "ase.calculators.lj:Missing"': "has no attribute 'Missing'",
    'loader = "magic"': "unknown loader 'magic'",
    'loader = "chgnet"\narguments = { model = "../m.pth" }': "does not import|ships",
    'loader = "chgnet"\narguments = { path = "m.pth" }': "unknown argument 'path'",
    'loader = "mace"\ncalculator = "ase.calculators.lj:LennardJones"': "either",
    'calculator = "ase.calculators.lj:LennardJones"\nsize = 3': "unknown key 'size'",
    'calculator = "ase.calculators.lj:LennardJones"\nrcut = "7"': "wrong kind",
    'calculator = "ase.calculators.lj:LennardJones"\ntype_map = [18]': "name elements",
    'type_map = ["Ar"]': "expected either a calculator",
    'loader = "mace"\n': "mace",
    "calculator = ": "cannot be read",
}


@pytest.fixture
def adapter(monkeypatch):
    """The worker's script in this process, which has no package of the field."""
    serve = types.ModuleType("serve")
    serve.Refused = Refused
    monkeypatch.setitem(sys.modules, "serve", serve)
    monkeypatch.delitem(sys.modules, "ase_loaders", raising=False)
    path = WORKERS / "ase_calculator.py"
    spec = importlib.util.spec_from_file_location("ase_calculator_for_tests", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("ase_loaders", None)


@pytest.mark.parametrize("text", REFUSED)
def test_a_description_that_cannot_be_opened_is_refused(tmp_path, adapter, text):
    with pytest.raises(Refused, match=REFUSED[text]):
        adapter.open_model(str(described(tmp_path, text)), {})


def test_a_refusal_reaches_the_caller_in_one_line(tmp_path):
    path = described(tmp_path, 'calculator = "os:system"\n')
    with pytest.raises(BackendRefused, match="no class of calculators") as caught:
        opened(path, trust=Trust(named=frozenset({digest_of(path)})))
    assert "\n" not in str(caught.value)


class TestWeights:
    WITH = '\n[weights]\nfile = "w.txt"\nsha256 = "{}"\n'

    def test_weights_that_are_not_the_described_ones_are_refused(
        self, tmp_path, adapter
    ):
        weights = described(tmp_path, "1 2 3", "w.txt")
        path = described(tmp_path, LJ + self.WITH.format("0" * 64))
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        with pytest.raises(Refused, match=f"has the sha256 {digest}"):
            adapter.open_model(str(path), {})

    @pytest.mark.parametrize("name", ["../w.txt", "missing.txt"])
    def test_weights_lie_beside_the_description(self, tmp_path, adapter, name):
        text = LJ + self.WITH.format("0" * 64).replace("w.txt", name)
        with pytest.raises(Refused, match="no file"):
            adapter.open_model(str(described(tmp_path, text)), {})


DATA = [
    LJ,
    MORSE,
    'loader = "chgnet"\n',
    'loader = "nep"\nweights = { file = "nep.txt", sha256 = "0" }\n',
    json.dumps({"calculator": PLAIN[0]}),
]
PROGRAMS = [
    'calculator = "mace.calculators:MACECalculator"\n',
    'calculator = "ase.calculators.abinit:Abinit"\narguments = { command = "sh" }\n',
    'loader = "mace"\nweights = { file = "m.model", sha256 = "0" }\n',
    LJ + '\n[weights]\nfile = "w"\nsha256 = "0"\n',
    'loader = "chgnet"\ncalculator = "ase.calculators.lj:LennardJones"\n',
    json.dumps({"loader": "mace", "weights": {"file": "m.model"}}),
]


@pytest.mark.parametrize("text", DATA)
def test_what_runs_no_program_is_data(tmp_path, text):
    assert not recognise(described(tmp_path, text)).is_program


@pytest.mark.parametrize("text", PROGRAMS)
def test_what_may_run_a_program_needs_trust(tmp_path, text):
    path = described(tmp_path, text)
    assert recognise(path).is_program
    with pytest.raises(BackendError, match=f"--trust {digest_of(path)}"):
        opened(path)


def test_worker_and_dpbench_know_the_same_keys_and_plain_calculators(adapter):
    assert set(adapter.OPTIONS) == KEYS
    assert adapter.PLAIN == PLAIN
