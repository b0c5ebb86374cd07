"""Vacancies and relaxations: what is planted comes out, and failures stay failures."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.optimize import FIRE

from dpbench.eval.crystals.prototypes import strained
from dpbench.eval.structures import displaced, from_atoms, to_atoms
from dpbench.eval.tasks import relaxation, vacancy
from dpbench.frames import concatenate, uniform
from dpbench.metrics.elasticity import strain_matrix
from tests.eval.crystals.analytic import (
    CalculatorEvaluator,
    case_of,
    do,
    labels,
    scaled_answers,
    values,
    write_references,
    wrong_stress,
)

A = 3.589825
MODEL = CalculatorEvaluator(EMT, ("Cu",))


def relaxed(frame):
    """By another optimiser."""
    atoms = to_atoms(frame)
    atoms.calc = EMT()
    FIRE(atoms, logfile=None).run(fmax=0.0005, steps=500)
    return labels(from_atoms(atoms), EMT())


@pytest.fixture(scope="module")
def vacancies(tmp_path_factory):
    perfect = from_atoms(bulk("Cu", a=A, cubic=True) * 2)
    empty = uniform(z=perfect.z[1:], coord=perfect.coord[1:][None], box=perfect.box)
    start = displaced(empty, amplitude=0.02, seed=1)
    three = labels(concatenate([perfect, empty, start]), EMT())
    case = case_of("Cu-fcc", concatenate([three, relaxed(start)]))
    return write_references(tmp_path_factory.mktemp("r"), "vacancy", case)


@pytest.fixture(scope="module")
def relaxations(tmp_path_factory):
    perfect = from_atoms(bulk("Cu", a=A, cubic=True))
    strain = strain_matrix(np.array([[0.02, -0.02, 0, 0.03, 0, 0]]))
    start = labels(displaced(strained(perfect, strain), amplitude=0.1, seed=1), EMT())
    fixed = case_of("fixed", concatenate([start, relaxed(start)]), free_cell=False)
    whole = labels(perfect, EMT())
    free = case_of("free", concatenate([start, whole]), free_cell=True)
    return write_references(tmp_path_factory.mktemp("r"), "relaxation", fixed, free)


def test_the_vacancy_of_copper_is_found(vacancies, tmp_path):
    """EMT's own: Jacobsen, Stoltze, Nørskov (1996) print about 1.2 eV for copper."""
    result = do(vacancy.TASK, MODEL, tmp_path, references=vacancies)
    assert result.status == "ok"
    assert values(result)["vacancy_formation_energy_mae_ev"] < 1e-4
    shown = result.samples["Cu-fcc"]
    assert 1.0 < shown["model_ev"]["relaxed"] < shown["model_ev"]["unrelaxed"] < 1.4
    assert shown["natoms"] == 32


def test_a_tenth_too_steep_costs_a_tenth_more(vacancies, tmp_path):
    model = CalculatorEvaluator(EMT, ("Cu",), scaled_answers(1.1))
    result = do(vacancy.TASK, model, tmp_path, references=vacancies)
    truth = result.samples["Cu-fcc"]["reference_ev"]
    found = values(result)
    assert found["vacancy_unrelaxed_energy_mae_ev"] == pytest.approx(
        0.1 * truth["unrelaxed"], abs=1e-5
    )
    assert found["vacancy_formation_energy_mae_ev"] == pytest.approx(
        0.1 * truth["relaxed"], abs=1e-4
    )


def test_a_vacancy_that_does_not_relax_is_no_number(vacancies, tmp_path):
    result = do(vacancy.TASK, MODEL, tmp_path, references=vacancies, steps=1)
    assert result.status == "failed"
    assert "did not relax in 1 steps" in result.reason
    assert set(values(result).values()) == {None}


def test_a_vacancy_without_reference_is_null(tmp_path):
    result = do(vacancy.TASK, MODEL, tmp_path)
    assert result.status == "no_reference"
    assert set(values(result).values()) == {None}
    assert 1.0 < result.samples["Cu-fcc"]["model_ev"]["relaxed"] < 1.4


def test_disturbed_crystals_find_the_minimum(relaxations, tmp_path):
    result = do(relaxation.TASK, MODEL, tmp_path, references=relaxations)
    found = values(result)
    assert result.status == "ok"
    assert found["relaxation_converged_percent"] == 100
    assert found["relaxation_rmsd_ang"] < 0.002
    assert found["relaxation_energy_mae_per_atom_mev"] < 0.01
    assert found["relaxation_volume_mae_percent"] < 0.05


def test_a_relaxation_that_does_not_converge_is_counted_and_null(relaxations, tmp_path):
    """E4: a failed run lowers the score and stays."""
    result = do(relaxation.TASK, MODEL, tmp_path, references=relaxations, steps=2)
    found = values(result)
    assert result.status == "failed"
    assert "did not relax in 2 steps" in result.reason
    assert found["relaxation_converged_percent"] == 0
    assert found["relaxation_rmsd_ang"] is None
    assert set(result.samples) == {"fixed", "free"}


def test_a_stress_of_the_wrong_sign_loses_the_free_cell_only(relaxations, tmp_path):
    model = CalculatorEvaluator(EMT, ("Cu",), wrong_stress)
    result = do(relaxation.TASK, model, tmp_path, references=relaxations, steps=40)
    assert result.status == "failed"
    assert "free" in result.reason
    assert "fixed" not in result.reason
    assert values(result)["relaxation_converged_percent"] == 50


def test_a_backend_without_virial_cannot_free_the_cell(relaxations, tmp_path):
    def no_virial(answer, _):
        return replace(answer, no_virial=np.ones(len(answer.energy), bool))

    model = CalculatorEvaluator(EMT, ("Cu",), no_virial)
    result = do(relaxation.TASK, model, tmp_path, references=relaxations)
    assert "free: the backend gives no virial" in result.reason


def test_rmsd_ignores_shifts_and_whole_cells():
    rng = np.random.default_rng(1)
    one = rng.random((5, 3))
    moved = one + 0.3 + rng.integers(-2, 3, (5, 3))
    box = np.diag([3.0, 4.0, 5.0])
    assert relaxation.rmsd(one, moved, box) == pytest.approx(0, abs=1e-12)
    moved[0, 0] += 0.1
    # One of five atoms 0.3 Å off: the shift takes a fifth of it away.
    expected = 0.3 * np.sqrt(0.8**2 + 4 * 0.2**2) / np.sqrt(5)
    assert relaxation.rmsd(one, moved, box) == pytest.approx(expected)


def test_a_structure_that_is_lost_says_so(relaxations, tmp_path):
    """Planted fault: forces a million times too strong."""
    model = CalculatorEvaluator(EMT, ("Cu",), scaled_answers(1e6))
    result = do(relaxation.TASK, model, tmp_path, references=relaxations)
    assert result.status == "failed"
    assert "fixed: a force of" in result.reason
    assert values(result)["relaxation_converged_percent"] == 0


def test_a_model_that_only_repels_has_no_minimum(tmp_path):
    model = CalculatorEvaluator(EMT, ("Cu",), scaled_answers(-1.0))
    result = do(vacancy.TASK, model, tmp_path)
    assert result.status == "failed"
    assert "the energy has no minimum near" in result.reason
