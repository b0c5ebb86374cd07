"""Phonons against the textbook's fcc crystal of springs, and planted faults."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.phonons import Phonons

from dpbench.eval.structures import from_atoms
from dpbench.eval.tasks import phonons
from dpbench.frames import concatenate
from dpbench.metrics.phonons import (
    build_supercell,
    displacements,
    fitting_wave_vectors,
    frequencies,
)
from dpbench.units import AMU
from tests.eval.crystals.analytic import (
    CalculatorEvaluator,
    Springs,
    case_of,
    do,
    labels,
    scaled_answers,
    values,
    write_references,
)

TWICE = 2 * np.eye(3, dtype=np.int64)
COPPER = bulk("Cu", a=3.589825)
COPPER_MODEL = CalculatorEvaluator(EMT, ("Cu",))


@pytest.fixture
def copper(tmp_path):
    cell = from_atoms(COPPER)
    frames = labels(phonons.displaced_supercells(cell, TWICE, 0.02), EMT())
    case = case_of(
        "Cu-fcc", concatenate([cell, frames]), matrix=TWICE.tolist(), step_ang=0.02
    )
    return write_references(tmp_path / "r", "phonons", case)


def test_springs_have_the_frequencies_of_the_textbook():
    """m w^2 = 8k, 4k, 4k at X and 8k, 2k, 2k at L; nothing at the centre."""
    cell, stiffness, mass = from_atoms(bulk("Al", a=4.0)), 3.0, 27.0
    frames = phonons.displaced_supercells(cell, TWICE, 0.01)
    big = build_supercell(cell.coord, cell.box[0], TWICE)
    springs = Springs(big.coord, bond=4.0 / np.sqrt(2), stiffness=stiffness)
    force = labels(frames, springs).force
    waves = fitting_wave_vectors(TWICE)
    found = frequencies(force, big, masses=np.array([mass]), step=0.01, waves=waves)
    unit = np.sqrt(stiffness / mass / AMU) / (2 * np.pi)
    squares = {tuple(row) for row in np.round((found / unit) ** 2, 6).tolist()}
    assert squares == {(0, 0, 0), (4, 4, 8), (2, 2, 8)}
    count = [tuple(row) for row in np.round((found / unit) ** 2, 6).tolist()]
    assert count.count((4, 4, 8)) == 3  # X
    assert count.count((2, 2, 8)) == 4  # L


def test_ase_finds_the_same_frequencies(tmp_path, copper):
    """An independent code, its own displacements and Fourier sums."""
    model = CalculatorEvaluator(EMT, ("Cu",))
    shown = do(phonons.TASK, model, tmp_path, references=copper).samples["Cu-fcc"]
    run = Phonons(COPPER, EMT(), supercell=(2, 2, 2), delta=0.02, name=tmp_path / "ph")
    run.run()
    run.read(acoustic=True, symmetrize=0)
    energy = run.band_structure(np.array(shown["wave_vectors"]), verbose=False)
    # ASE's units: eV; h = 4.135667696e-3 eV/THz
    np.testing.assert_allclose(
        np.sort(energy / 4.135667696e-3, axis=1), shown["model_thz"], atol=2e-3
    )


def test_the_reference_itself_has_no_error(copper, tmp_path):
    result = do(phonons.TASK, COPPER_MODEL, tmp_path, references=copper)
    assert result.status == "ok"
    assert max(values(result).values()) < 1e-4


def test_frequencies_grow_as_the_root_of_the_energy(copper, tmp_path):
    model = CalculatorEvaluator(EMT, ("Cu",), scaled_answers(1.21))
    result = do(phonons.TASK, model, tmp_path, references=copper)
    shown = result.samples["Cu-fcc"]
    np.testing.assert_allclose(
        shown["model_thz"], 1.1 * np.array(shown["reference_thz"]), atol=1e-3
    )
    mean = 0.1 * np.mean(shown["reference_thz"])
    assert values(result)["phonon_frequency_mae_thz"] == pytest.approx(mean, abs=1e-3)


def test_an_unstable_crystal_has_imaginary_modes(copper, tmp_path):
    """Planted fault: forces that push atoms away from their sites."""
    model = CalculatorEvaluator(EMT, ("Cu",), scaled_answers(-1.0))
    found = values(do(phonons.TASK, model, tmp_path, references=copper))
    assert found["phonon_imaginary_modes"] == 21  # all but three of 8 x 3


def test_without_reference_the_metrics_are_null(tmp_path):
    result = do(phonons.TASK, COPPER_MODEL, tmp_path)
    assert result.status == "no_reference"
    assert set(values(result).values()) == {None}
    assert max(max(row) for row in result.samples["Cu-fcc"]["model_thz"]) > 6


def test_an_unknown_element_fails(copper, tmp_path):
    model = CalculatorEvaluator(EMT, ("Ag",))
    result = do(phonons.TASK, model, tmp_path, references=copper)
    assert result.status == "failed"
    assert set(values(result).values()) == {None}


def test_supercells_of_any_shape_hold_every_atom_once():
    cell = from_atoms(bulk("Si", cubic=True))
    matrix = np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])
    big = build_supercell(cell.coord, cell.box[0], matrix)
    places = big.coord @ np.linalg.inv(big.box)
    places -= np.floor(places + 1e-9)
    assert len({tuple(row) for row in np.round(places, 6).tolist()}) == 32
    assert (big.lattice[:8] == 0).all()


def test_every_fitting_wave_stands_once():
    assert len(fitting_wave_vectors(TWICE)) == 8
    assert len(fitting_wave_vectors(3 * np.eye(3, dtype=np.int64))) == 14  # (27 + 1)/2


def test_displacements_move_one_atom_each():
    moved = displacements(2, 0.1)
    assert moved.shape == (12, 2, 3)
    assert (np.count_nonzero(moved, axis=(1, 2)) == 1).all()
    np.testing.assert_allclose(moved.sum(axis=0), 0, atol=1e-15)
