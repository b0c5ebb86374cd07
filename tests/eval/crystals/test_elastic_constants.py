"""Elastic constants against second derivatives of the energy, and planted faults."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from dpbench.errors import EvaluationError
from dpbench.eval.crystals.prototypes import strained
from dpbench.eval.structures import from_atoms
from dpbench.eval.tasks import elastic
from dpbench.metrics.elasticity import fit_cubic_constants, strain_matrix, stress_of
from dpbench.units import GPA
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

EMT_COPPER = 3.589825
"""Å, minimum of EMT's copper."""

STRAINS = np.array(elastic.STRAINS)


def argon() -> LennardJones:
    return LennardJones(sigma=3.4, epsilon=0.0104, rc=7.0, smooth=True)


def energy_constants(cell: Atoms, calculator) -> tuple[float, float, float]:
    """C11, C12, C44 in GPa from energies alone, by fourth-order polynomials."""
    frame, size = from_atoms(cell), np.linspace(-0.01, 0.01, 9)

    def curvature(*strain: float) -> float:
        matrices = strain_matrix(size[:, None] * np.array([strain], float))
        energy = labels(strained(frame, matrices), calculator).energy
        return 2 * np.polyfit(size, energy, 4)[2] / cell.get_volume() / GPA

    c11 = curvature(1, 0, 0, 0, 0, 0)
    both = curvature(1, 1, 0, 0, 0, 0)
    return c11, both / 2 - c11, curvature(0, 0, 0, 1, 0, 0)


@pytest.fixture
def copper(tmp_path):
    frame = from_atoms(bulk("Cu", a=EMT_COPPER, cubic=True))
    every = np.concatenate([np.zeros((1, 6)), STRAINS])
    frames = labels(strained(frame, strain_matrix(every)), EMT())
    case = case_of("Cu-fcc", frames, strains=STRAINS.tolist())
    return write_references(tmp_path / "r", "elastic", case)


def test_planted_constants_are_found():
    matrix = np.zeros((6, 6))
    matrix[:3, :3] = 60
    matrix[np.arange(3), np.arange(3)] = 160
    matrix[np.arange(3, 6), np.arange(3, 6)] = 80
    stress = STRAINS @ matrix - 2 * np.array([1, 1, 1, 0, 0, 0])
    found = fit_cubic_constants(STRAINS, stress)
    assert (found.c11, found.c12, found.c44) == pytest.approx((160, 60, 80))
    assert found.pressure == pytest.approx(2)
    assert found.residual == pytest.approx(0, abs=1e-9)


def test_strains_of_one_kind_tell_no_constants():
    assert fit_cubic_constants(STRAINS[:4], np.zeros((4, 6))) is None


def test_stress_is_minus_virial_over_volume_in_voigt_order():
    virial = np.arange(9.0).reshape(1, 3, 3)
    found = stress_of(virial + virial.transpose(0, 2, 1), 2 * np.eye(3)[None])
    twice = np.array([0, 8, 16, 12, 8, 4])
    np.testing.assert_allclose(found[0], -twice / 8 / GPA)


def test_copper_has_the_constants_of_its_energies(tmp_path):
    model = CalculatorEvaluator(EMT, ("Cu",))
    found = do(elastic.TASK, model, tmp_path).samples["Cu-fcc"]["model"]
    expected = energy_constants(bulk("Cu", a=EMT_COPPER, cubic=True), EMT())
    mine = (found["c11"], found["c12"], found["c44"])
    assert mine == pytest.approx(expected, rel=0.01)
    assert abs(found["pressure"]) < 0.1
    modulus = (found["c11"] + 2 * found["c12"]) / 3
    assert modulus == pytest.approx(found["bulk_modulus_from_energy_gpa"], rel=0.01)


def test_a_pair_potential_obeys_cauchy(tmp_path):
    """C12 = C44 for central forces at no pressure."""
    model = CalculatorEvaluator(argon, ("Ar",))
    found = do(elastic.TASK, model, tmp_path).samples["Ar-fcc"]["model"]
    assert found["c12"] == pytest.approx(found["c44"], rel=0.02)
    assert found["c11"] > found["c12"] > 0


def test_the_reference_itself_has_no_error(copper, tmp_path):
    model = CalculatorEvaluator(EMT, ("Cu",))
    result = do(elastic.TASK, model, tmp_path, references=copper)
    assert result.status == "ok"
    assert values(result)["elastic_mae_percent"] < 0.1


def test_a_tenth_too_steep_is_a_tenth_too_stiff(copper, tmp_path):
    model = CalculatorEvaluator(EMT, ("Cu",), scaled_answers(1.1))
    found = values(do(elastic.TASK, model, tmp_path, references=copper))
    assert found["elastic_mae_percent"] == pytest.approx(10, abs=0.1)


def test_a_stress_of_the_wrong_sign_is_seen(copper, tmp_path):
    """Planted fault: energies and forces are right, so only the stress can tell."""
    model = CalculatorEvaluator(EMT, ("Cu",), wrong_stress)
    result = do(elastic.TASK, model, tmp_path, references=copper)
    assert values(result)["elastic_mae_percent"] > 190
    shown = result.samples["Cu-fcc"]["model"]
    assert shown["c11"] < 0 < shown["bulk_modulus_from_energy_gpa"]


def test_without_reference_the_metrics_are_null(tmp_path):
    result = do(elastic.TASK, CalculatorEvaluator(EMT, ("Cu",)), tmp_path)
    assert result.status == "no_reference"
    assert set(values(result).values()) == {None}


def test_atoms_that_do_not_relax_fail_their_crystal(tmp_path):
    """Diamond's atoms move when the cell is sheared; no step is too few."""
    model = CalculatorEvaluator(soft_diamond, ("Ar",))
    every = np.concatenate([np.zeros((1, 6)), STRAINS])
    cells = strained(from_atoms(diamond()), strain_matrix(every))
    frames = labels(cells, soft_diamond())
    case = case_of("Ar-diamond", frames, strains=STRAINS.tolist())
    folder = write_references(tmp_path / "r", "elastic", case)
    result = do(elastic.TASK, model, tmp_path, references=folder, steps=0)
    assert result.status == "failed"
    assert "did not relax in 0 steps" in result.reason


def test_a_reference_with_a_strain_too_many_is_refused(tmp_path):
    frames = labels(from_atoms(bulk("Cu", a=EMT_COPPER, cubic=True)), EMT())
    case = case_of("Cu-fcc", frames, strains=STRAINS.tolist())
    folder = write_references(tmp_path / "r", "elastic", case)
    with pytest.raises(EvaluationError, match="tells no constants"):
        do(elastic.TASK, CalculatorEvaluator(EMT, ("Cu",)), tmp_path, references=folder)


def soft_diamond() -> LennardJones:
    return LennardJones(sigma=2.2, epsilon=0.5, rc=6.0, smooth=True)


def diamond() -> Atoms:
    return bulk("Ar", "diamond", a=5.0, cubic=True)
