"""Forces that are derivatives, forces that are not, and curves of two atoms."""

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.calculators.morse import MorsePotential

from dpbench.errors import EvaluationError
from dpbench.eval.tasks import smoothness
from dpbench.metrics.diatomics import curve_shape
from tests.eval.crystals.analytic import (
    CalculatorEvaluator,
    do,
    scaled_answers,
    swirling,
    values,
    wrong_stress,
)

MODEL = CalculatorEvaluator(EMT, ("Cu",))


def test_true_derivatives_have_no_error(tmp_path):
    found = values(do(smoothness.TASK, MODEL, tmp_path, dimers=False))
    assert found["conservativeness_max_component_mev_per_ang"] < 1e-3
    assert found["virial_consistency_mae_per_atom_mev"] < 1e-3


def test_a_force_that_is_no_derivative_is_measured(tmp_path):
    """Planted fault: a swirl of 0.1 eV/Å per Å; the energy knows nothing of it."""
    model = CalculatorEvaluator(EMT, ("Cu",), swirling)
    result = do(smoothness.TASK, model, tmp_path, dimers=False, atoms=1)
    frame = smoothness.prototypes(("Cu",))["Cu-fcc"]
    moved = smoothness.displaced(frame, amplitude=smoothness.SHAKEN, seed=1)
    _, y, z = moved.coord[0]
    worst = values(result)["conservativeness_max_component_mev_per_ang"]
    assert worst == pytest.approx(100 * max(abs(y), abs(z)), rel=1e-4)
    assert values(result)["virial_consistency_mae_per_atom_mev"] < 1e-3


def test_a_virial_of_the_wrong_sign_is_measured(tmp_path):
    model = CalculatorEvaluator(EMT, ("Cu",), wrong_stress)
    found = values(do(smoothness.TASK, model, tmp_path, dimers=False))
    assert found["virial_consistency_mae_per_atom_mev"] > 1
    assert found["conservativeness_max_component_mev_per_ang"] < 1e-3


def test_no_reference_is_no_failure(tmp_path):
    assert do(smoothness.TASK, MODEL, tmp_path).status == "ok"


def test_a_dimer_of_morse_is_perfect(tmp_path):
    def morse():
        return MorsePotential(
            epsilon=1.0, r0=2.4, rho0=4.0, rcut1=4.5, rcut2=5.5, elements=("Cu",)
        )

    model = CalculatorEvaluator(morse, ("Cu",))
    result = do(smoothness.TASK, model, tmp_path, frames=1, atoms=1, points=40)
    found = values(result)
    assert found["diatomic_tortuosity"] == pytest.approx(1)
    assert found["diatomic_energy_jump_ev"] == 0
    assert found["diatomic_force_flips"] == 1
    curve = result.samples["Cu-Cu"]
    lowest = curve["distance_ang"][int(np.argmin(curve["energy_ev"]))]
    assert lowest == pytest.approx(2.4, abs=0.06)


def test_a_bump_in_the_curve_is_told():
    """Planted fault: a wiggle of 0.2 eV on a smooth well."""
    r = np.linspace(1.8, 5, 200)
    well = (1 - np.exp(-2 * (r - 2.4))) ** 2
    bump = 0.2 * np.exp(-(((r - 3.5) / 0.1) ** 2))
    smooth = curve_shape(well, -np.gradient(well, r))
    rough = curve_shape(well + bump, -np.gradient(well + bump, r))
    assert (smooth.force_flips, rough.force_flips) == (1, 3)
    assert smooth.tortuosity == pytest.approx(1)
    assert rough.tortuosity > 1.03
    assert smooth.energy_jump == 0 < rough.energy_jump


def test_noise_makes_the_curve_tortuous():
    rng = np.random.default_rng(0)
    r = np.linspace(1.8, 5, 200)
    well = (1 - np.exp(-2 * (r - 2.4))) ** 2 + 0.05 * rng.standard_normal(200)
    found = curve_shape(well, -np.gradient(well, r))
    assert found.tortuosity > 2
    assert found.energy_jump > 1
    assert found.force_flips > 20


def test_a_flat_curve_has_no_tortuosity_and_a_nan_no_shape():
    flat = np.zeros(20)
    assert curve_shape(flat, flat).tortuosity is None
    assert curve_shape(flat + np.nan, flat) is None


def test_a_model_that_gives_no_number_fails(tmp_path):
    model = CalculatorEvaluator(EMT, ("Cu",), scaled_answers(np.nan))
    result = do(smoothness.TASK, model, tmp_path)
    assert result.status == "failed"
    assert "not a number" in result.reason
    assert set(values(result).values()) == {None}


def test_pairs_left_out_are_counted(tmp_path):
    model = CalculatorEvaluator(EMT, ("Cu", "Ag", "Au"))
    result = do(smoothness.TASK, model, tmp_path, frames=1, atoms=1, most_pairs=4)
    assert result.samples["dimer_pairs_left_out"] == 2
    assert {"Cu-Cu", "Ag-Ag", "Au-Au", "Cu-Ag"} <= set(result.samples)


def test_an_unknown_element_fails_its_dimer_only(tmp_path):
    result = do(smoothness.TASK, MODEL, tmp_path, elements=("Ag",))
    assert "Ag-Ag: the model does not know Ag" in result.reason
    assert "conservativeness" not in result.reason


def test_settings_that_mean_nothing_are_refused():
    with pytest.raises(EvaluationError, match="at least 1, 1 and 10"):
        smoothness.SmoothnessSettings(frames=0)
