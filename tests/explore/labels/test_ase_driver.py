"""Any calculator of ASE labels; what goes wrong in it costs one frame."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from dpbench.config import from_mapping
from dpbench.errors import ConfigError
from dpbench.explore.labels.labelling import label, label_tasks
from dpbench.explore.labels.settings import LabelSettings
from dpbench.explore.labels.table import driver_of
from dpbench.frames import Frames, uniform
from dpbench.io.parsed import SourceFiles
from dpbench.io.readers import READERS

HERE = "tests.explore.labels.calculators"
EXACT = 1e-12


def settings_of(calculator: str, base: Path = Path(), **options) -> LabelSettings:
    table = {"driver": "ase", "ase": {"calculator": calculator, **options}}
    return from_mapping(LabelSettings, table, where="label").resolved(base)


@pytest.fixture
def aluminium() -> Frames:
    atoms = bulk("Al", cubic=True).repeat((2, 1, 1))
    atoms.rattle(0.1, seed=3)
    atoms.set_cell(atoms.cell @ np.array([[1, 0.02, 0], [0, 1, 0.01], [0, 0, 0.97]]))
    return uniform(
        z=atoms.numbers, coord=atoms.positions[None], box=atoms.cell.array[None]
    )


@pytest.fixture
def dimer() -> Frames:
    return uniform(z=[8, 8], coord=np.array([[[0.0, 0.0, 0.1], [0.0, 0.3, 1.3]]]))


def only_label(frames: Frames, settings: LabelSettings, folder: Path):
    (task,) = label_tasks(frames, settings, folder=folder)
    return label(task)


def read(path: Path) -> Frames:
    return READERS["extxyz"].read(SourceFiles(format="extxyz", paths=(path,))).frames


def test_label_is_what_the_calculator_says_to_the_last_digit(tmp_path, aluminium):
    done = only_label(aluminium, settings_of("ase.calculators.emt:EMT"), tmp_path)
    assert (done.status, done.reason, done.attempts) == ("done", "", 1)
    found = read(done.outputs[0])
    atoms = bulk("Al", cubic=True).repeat((2, 1, 1))
    atoms.positions, atoms.cell = aluminium.coord, aluminium.box[0]
    atoms.calc = EMT()
    assert found.energy[0] == atoms.get_potential_energy(force_consistent=True)
    assert np.array_equal(found.force, atoms.get_forces())
    assert np.array_equal(found.coord, aluminium.coord)
    assert np.array_equal(found.box, aluminium.box)


def test_virial_is_minus_the_derivative_by_strain(tmp_path, aluminium):
    settings = settings_of("ase.calculators.emt:EMT")
    driver = driver_of(settings)
    step = 1e-5

    def energy(strain: np.ndarray) -> float:
        turned = np.eye(3) + strain
        frame = uniform(
            z=aluminium.z,
            coord=(aluminium.coord @ turned)[None],
            box=aluminium.box @ turned,
        )
        folder = tmp_path / str(abs(hash(strain.tobytes())))
        folder.mkdir()
        driver.write(frame, folder, attempt=0)
        driver.run(folder, attempt=0, resources=settings.resources)
        return float(read(driver.outputs(folder)[0]).energy[0])

    done = only_label(aluminium, settings, tmp_path / "labels")
    virial = read(done.outputs[0]).virial[0]
    for row, column in ((0, 0), (0, 1), (2, 2)):
        strain = np.zeros((3, 3))
        strain[row, column] = step / 2
        strain[column, row] += step / 2
        slope = (energy(strain) - energy(-strain)) / (2 * step)
        assert virial[row, column] == pytest.approx(-slope, abs=1e-4)


def test_molecule_has_a_label_without_cell_and_virial(tmp_path, dimer):
    done = only_label(dimer, settings_of(f"{HERE}:Spring"), tmp_path)
    found = read(done.outputs[0])
    assert np.allclose(found.force, -dimer.coord, rtol=0, atol=EXACT)
    assert np.isnan(found.box).all()
    assert np.isnan(found.virial).all()
    assert not found.pbc.any()


def test_slab_stays_periodic_along_two_directions(tmp_path, aluminium):
    aluminium.pbc[:] = [[True, True, False]]
    done = only_label(aluminium, settings_of("ase.calculators.emt:EMT"), tmp_path)
    assert done.status == "done"
    found = read(done.outputs[0])
    assert found.pbc.tolist() == [[True, True, False]]
    assert np.isnan(found.virial).all()


def test_remedy_is_tried_when_charges_do_not_converge(tmp_path, dimer):
    settings = settings_of(
        f"{HERE}:Spring",
        arguments={"mixing": 0.7},
        attempts={"half": {"mixing": 0.35}, "gentle": {"mixing": 0.1}},
    )
    done = only_label(dimer, settings, tmp_path)
    assert (done.status, done.attempts) == ("done", 3)
    assert done.remedies == ("half", "gentle")


def test_label_that_never_converges_is_quarantined_with_its_reason(tmp_path, dimer):
    settings = settings_of(f"{HERE}:Spring", arguments={"mixing": 0.7})
    done = only_label(dimer, settings, tmp_path)
    assert (done.status, done.trouble) == ("quarantined", "unconverged")
    assert "charges swing" in done.reason
    assert done.outputs == ()


def test_calculator_without_forces_is_refused_at_once(tmp_path, dimer):
    settings = settings_of(f"{HERE}:WithoutForces", attempts={"more": {}})
    done = only_label(dimer, settings, tmp_path)
    assert (done.status, done.attempts, done.trouble) == ("quarantined", 1, "refused")
    assert "forces" in done.reason


def test_missing_calculator_is_one_clear_line(tmp_path, dimer):
    with pytest.raises(ConfigError, match=r"no_such_package:Thing.*Install it"):
        label_tasks(dimer, settings_of("no_such_package:Thing"), folder=tmp_path)
    with pytest.raises(ConfigError, match=r"expected package\.module:Name"):
        settings_of("ase.calculators.emt.EMT")


def test_wrong_arguments_stop_the_loop_and_not_one_frame(tmp_path, dimer):
    settings = settings_of(f"{HERE}:Spring", arguments={"colour": "red"})
    (task,) = label_tasks(dimer, settings, folder=tmp_path)
    with pytest.raises(ConfigError, match=r"colour.*Correct them"):
        label(task)


def test_label_is_named_by_the_content_of_files_and_not_by_their_place(tmp_path, dimer):
    keys = []
    for place, content in (("a", "1"), ("b", "1"), ("c", "2")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "weights.txt").write_text(content)
        settings = settings_of(
            f"{HERE}:Counting",
            tmp_path / place,
            arguments={"book": "weights.txt"},
            paths=["book"],
        )
        (task,) = label_tasks(dimer, settings, folder=tmp_path)
        keys.append(task.key)
    assert keys[0] == keys[1] != keys[2]


def test_kept_calculator_is_made_once(tmp_path, dimer):
    for keep, times in ((True, 1), (False, 2)):
        book = tmp_path / f"book-{keep}"
        settings = settings_of(
            f"{HERE}:Counting", arguments={"book": str(book)}, keep=keep
        )
        for shift in (0.0, 0.1):
            frame = uniform(z=dimer.z, coord=dimer.coord[None] + shift)
            only_label(frame, settings, tmp_path / "labels")
        assert book.read_text() == "x" * times


def test_level_of_theory_is_told_to_ingest(tmp_path, dimer):
    settings = settings_of(f"{HERE}:Spring", arguments={"stiffness": 2.0})
    told = driver_of(settings).declared()
    assert told["code"] == "ase"
    assert told["functional"] == f"{HERE}:Spring"
    assert told["details"] == {"stiffness": 2.0}
    theory = tmp_path / "theory.toml"
    theory.write_text('code = "gpaw"\nfunctional = "PBE"\n')
    own = settings_of(f"{HERE}:Spring", tmp_path, theory="theory.toml")
    assert driver_of(own).declared() == {"code": "gpaw", "functional": "PBE"}


def test_finished_label_is_read_and_not_computed_again(tmp_path, dimer):
    book = tmp_path / "book"
    settings = settings_of(f"{HERE}:Counting", arguments={"book": str(book)})
    first = only_label(dimer, settings, tmp_path / "labels")
    again = only_label(dimer, settings, tmp_path / "labels")
    assert again.was_kept
    assert again.outputs == first.outputs
    assert book.read_text() == "x"
    assert json.loads((first.outputs[0].parent / "run.json").read_text())["status"] == 0


def test_process_of_its_own_gives_the_same_label(tmp_path, aluminium):
    path = "ase.calculators.emt:EMT"
    apart = only_label(aluminium, settings_of(path, isolated=True), tmp_path / "a")
    here = only_label(aluminium, settings_of(path), tmp_path / "b")
    assert apart.reason == ""
    one, other = read(apart.outputs[0]), read(here.outputs[0])
    assert apart.key == here.key
    assert (one.energy, one.virial.tolist()) == (other.energy, other.virial.tolist())


def test_calculator_that_hangs_is_stopped_when_its_time_is_over(tmp_path, dimer):
    settings = settings_of(f"{HERE}:Hanging", isolated=True)
    settings = replace(settings, timeout=1.0, attempts=1)
    done = only_label(dimer, settings, tmp_path)
    assert (done.status, done.trouble) == ("quarantined", "timed_out")
    assert "was stopped after 1 s" in done.reason


def test_calculator_that_kills_its_process_costs_one_frame(tmp_path, dimer):
    done = only_label(dimer, settings_of(f"{HERE}:Deadly", isolated=True), tmp_path)
    assert (done.status, done.trouble, done.attempts) == ("quarantined", "died", 2)
    assert "SIGKILL" in done.reason
    with pytest.raises(ConfigError, match=r"keep and isolated: both given"):
        settings_of(f"{HERE}:Deadly", isolated=True, keep=True)


def test_process_of_its_own_needs_numpy_and_ase_alone():
    """An environment that has the calculator has not what dpbench needs."""
    code = (
        "import sys; import dpbench.explore.labels.ase_child as child; "
        "heavy = {'sqlalchemy', 'zarr', 'torch', 'numba', 'dask', 'click', 'h5py'}; "
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == ""


def test_calculator_that_another_environment_lacks_is_named(tmp_path, dimer):
    settings = settings_of("no_such_package:Thing", python=sys.executable)
    done = only_label(dimer, settings, tmp_path)
    assert (done.trouble, done.attempts) == ("refused", 1)
    assert "No module named 'no_such_package'" in done.reason
