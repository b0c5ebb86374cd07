"""The equation of state against ASE's own fit, and what a wrong model is told."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.eos import EquationOfState as AseEquationOfState
from ase.units import GPa

from dpbench.errors import EvaluationError
from dpbench.eval.crystals.prototypes import scaled, volume_per_atom
from dpbench.eval.structures import from_atoms
from dpbench.eval.tasks import eos
from dpbench.metrics.equation_of_state import delta, fit_equation_of_state
from tests.eval.crystals.analytic import (
    CalculatorEvaluator,
    case_of,
    do,
    labels,
    scaled_answers,
    values,
    write_references,
)

COPPER = CalculatorEvaluator(EMT, ("Cu",))
VOLUMES = np.linspace(0.92, 1.08, 9)


def cells(atoms):
    return labels(scaled(from_atoms(atoms), VOLUMES), EMT())


@pytest.fixture
def copper(tmp_path):
    frames = cells(bulk("Cu", cubic=True))
    return write_references(tmp_path / "r", "eos", case_of("Cu-fcc", frames))


def birch_murnaghan(volume, v0, bulk_modulus, derivative):
    eta = (v0 / volume) ** (2 / 3) - 1
    return 9 * v0 * bulk_modulus / 16 * (eta**3 * derivative + eta**2 * (2 - 4 * eta))


def test_the_curve_that_was_planted_is_found():
    volume = 20 * VOLUMES
    energy = -5 + birch_murnaghan(volume, 20.3, 98 * GPa, 4.2)
    found = fit_equation_of_state(volume, energy)
    assert found.volume == pytest.approx(20.3, rel=1e-9)
    assert found.bulk_modulus == pytest.approx(98, rel=1e-8)
    assert found.derivative == pytest.approx(4.2, rel=1e-7)
    assert found.energy == pytest.approx(-5, abs=1e-10)


def test_ase_fits_the_same(copper):
    frames = cells(bulk("Cu", cubic=True))
    volume, energy = volume_per_atom(frames), frames.energy / frames.natoms
    v0, e0, b0 = AseEquationOfState(volume, energy, eos="birchmurnaghan").fit()
    found = fit_equation_of_state(volume, energy)
    assert found.volume == pytest.approx(v0, rel=1e-6)
    assert found.energy == pytest.approx(e0, abs=1e-7)
    assert found.bulk_modulus == pytest.approx(b0 / GPa, rel=1e-4)


def test_delta_of_two_parabola_like_curves_is_that_of_their_points():
    one = fit_equation_of_state(20 * VOLUMES, birch_murnaghan(20 * VOLUMES, 20, 0.6, 4))
    two = fit_equation_of_state(20 * VOLUMES, birch_murnaghan(20 * VOLUMES, 20, 0.7, 4))
    volume = np.linspace(18.8, 21.2, 4001)
    gap = birch_murnaghan(volume, 20, 0.6, 4) - birch_murnaghan(volume, 20, 0.7, 4)
    mean = np.trapezoid(gap**2, volume) / np.ptp(volume)
    assert delta(one, two) == pytest.approx(np.sqrt(mean), rel=1e-5)
    assert delta(one, one) == 0


def test_the_reference_itself_has_no_error(copper, tmp_path):
    result = do(
        eos.TASK, CalculatorEvaluator(EMT, ("Cu",)), tmp_path, references=copper
    )
    assert result.status == "ok"
    assert max(values(result).values()) < 1e-4
    assert "formation_energy_mae_per_atom_mev" not in values(result)


def test_a_tenth_too_steep_is_a_tenth_too_stiff(copper, tmp_path):
    model = CalculatorEvaluator(EMT, ("Cu",), scaled_answers(1.1))
    found = values(do(eos.TASK, model, tmp_path, references=copper))
    assert found["eos_bulk_modulus_mae_percent"] == pytest.approx(10, abs=1e-4)
    assert found["eos_volume_mae_percent"] == pytest.approx(0, abs=1e-4)
    assert found["eos_bulk_modulus_derivative_mae"] == pytest.approx(0, abs=1e-4)


def test_formation_energies_are_told_of_compounds(tmp_path):
    mixed = bulk("Cu", cubic=True)
    mixed.symbols[0] = "Au"
    named = {
        "Cu": bulk("Cu", cubic=True),
        "Au": bulk("Au", cubic=True),
        "Cu3Au": mixed * (1, 1, 1),
    }
    named["Cu3Au"].set_cell(3.74 * np.eye(3), scale_atoms=True)
    cases = [case_of(name, cells(atoms)) for name, atoms in named.items()]
    folder = write_references(tmp_path / "r", "eos", *cases)
    model = CalculatorEvaluator(EMT, ("Cu", "Au"), scaled_answers(1.1))
    found = do(eos.TASK, model, tmp_path, references=folder)
    least = {
        case.name: fit_equation_of_state(volume_per_atom(f), f.energy / 4).energy
        for case in cases
        for f in [case.frames()]
    }
    formed = least["Cu3Au"] - 0.75 * least["Cu"] - 0.25 * least["Au"]
    error = values(found)["formation_energy_mae_per_atom_mev"]
    assert error == pytest.approx(100 * abs(formed), rel=1e-4)


def test_without_reference_the_metrics_are_null_and_the_model_is_shown(tmp_path):
    """E2: a missing reference gives null, never 0."""
    result = do(eos.TASK, CalculatorEvaluator(EMT, ("Cu",)), tmp_path)
    assert result.status == "no_reference"
    assert set(values(result).values()) == {None}
    assert result.samples["Cu-fcc"]["model"]["bulk_modulus_gpa"] == pytest.approx(
        134, 2
    )
    assert result.samples["Cu-fcc"]["reference"] is None


def test_an_element_that_the_model_does_not_know_fails_its_crystal(copper, tmp_path):
    result = do(
        eos.TASK, CalculatorEvaluator(EMT, ("Al",)), tmp_path, references=copper
    )
    assert result.status == "failed"
    assert "does not know Cu" in result.reason
    assert set(values(result).values()) == {None}


def test_a_model_without_minimum_fails(copper, tmp_path):
    model = CalculatorEvaluator(EMT, ("Cu",), scaled_answers(-1.0))
    result = do(eos.TASK, model, tmp_path, references=copper)
    assert result.status == "failed"
    assert "no single minimum" in result.reason


def test_a_number_that_is_none_fails(copper, tmp_path):
    model = CalculatorEvaluator(EMT, ("Cu",), scaled_answers(np.nan))
    result = do(eos.TASK, model, tmp_path, references=copper)
    assert "not a number" in result.reason


def test_a_crystal_that_is_not_there_is_named(copper, tmp_path):
    model = CalculatorEvaluator(EMT, ("Cu",))
    with pytest.raises(EvaluationError, match="'Cv-fcc' is not there"):
        do(eos.TASK, model, tmp_path, references=copper, crystals=("Cv-fcc",))


def test_answers_are_not_scored_by_other_references(copper, tmp_path):
    model = CalculatorEvaluator(EMT, ("Cu",))
    result = do(eos.TASK, model, tmp_path, references=copper)
    assert result.protocol["references"].startswith("sha256:")
    text = (copper / "eos.json").read_text()
    (copper / "eos.json").write_text(text.replace("ASE", "ASF"))
    again = do(eos.TASK, model, tmp_path, references=copper)
    assert again.protocol["references"] != result.protocol["references"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[:-5], "Make it again"),
        (lambda text: text.replace('"cases"', '"casus"'), "unknown key 'casus'"),
        (lambda text: text.replace("references-1", "references-9"), "format is"),
        (lambda text: text.replace('"eos"', '"eis"'), "is of the task 'eis'"),
    ],
)
def test_damaged_references_are_refused(copper, tmp_path, change, words):
    path = copper / "eos.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(EvaluationError, match=words):
        do(eos.TASK, COPPER, tmp_path, references=copper)
