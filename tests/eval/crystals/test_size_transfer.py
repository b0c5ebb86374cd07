"""Errors on larger cells: those that are planted, and none where none is."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from dpbench.eval.structures import displaced, from_atoms
from dpbench.eval.tasks import size_transfer
from dpbench.frames import concatenate
from tests.eval.crystals.analytic import (
    CalculatorEvaluator,
    case_of,
    do,
    labels,
    scaled_answers,
    values,
    write_references,
)


def shaken(copies, *seeds):
    cell = from_atoms(bulk("Cu", cubic=True) * copies)
    frames = [displaced(cell, amplitude=0.1, seed=seed) for seed in seeds]
    return labels(concatenate(frames), EMT())


@pytest.fixture(scope="module")
def sizes(tmp_path_factory):
    return write_references(
        tmp_path_factory.mktemp("r"),
        "size_transfer",
        case_of("Cu4", shaken((1, 1, 1), 1, 2), role="small"),
        case_of("Cu8", shaken((2, 1, 1), 3), role="large"),
        case_of("Cu16", shaken((2, 2, 1), 4, 5), role="large"),
    )


def test_the_reference_itself_has_no_error(sizes, tmp_path):
    model = CalculatorEvaluator(EMT, ("Cu",))
    result = do(size_transfer.TASK, model, tmp_path, references=sizes)
    found = values(result)
    assert result.status == "ok"
    assert found["size_transfer_energy_mae_per_atom_mev"] < 1e-4
    assert found["size_transfer_force_rmse_component_mev_per_ang"] < 1e-3
    assert [m.n for m in result.metrics] == [3, 3, 3, 3]


def test_an_error_that_grows_with_size_is_seen(sizes, tmp_path):
    """Planted fault: 10 meV/Å on the trained size, 40 on all larger ones."""

    def fault(answer, frames):
        error = np.where(frames.natoms > 4, 0.04, 0.01)
        sign = np.resize([1.0, -1.0], len(frames.z))
        moved = (np.repeat(error, frames.natoms) * sign)[:, None]
        return replace(answer, force=answer.force + moved)

    model = CalculatorEvaluator(EMT, ("Cu",), fault)
    result = do(size_transfer.TASK, model, tmp_path, references=sizes)
    found = values(result)
    assert found["size_transfer_force_rmse_component_mev_per_ang"] == pytest.approx(40)
    assert found["size_transfer_force_ratio"] == pytest.approx(4)
    small = result.samples["Cu4"]["force_rmse_component_mev_per_ang"]
    assert small == pytest.approx(10)


def test_an_energy_offset_per_atom_is_an_error(sizes, tmp_path):
    def fault(answer, frames):
        return replace(answer, energy=answer.energy + 0.005 * frames.natoms)

    model = CalculatorEvaluator(EMT, ("Cu",), fault)
    found = values(do(size_transfer.TASK, model, tmp_path, references=sizes))
    assert found["size_transfer_energy_mae_per_atom_mev"] == pytest.approx(5, rel=1e-3)


def test_without_virial_only_the_stress_is_null(sizes, tmp_path):
    def no_virial(answer, _):
        return replace(answer, no_virial=np.ones(len(answer.energy), bool))

    model = CalculatorEvaluator(EMT, ("Cu",), no_virial)
    found = values(do(size_transfer.TASK, model, tmp_path, references=sizes))
    assert found["size_transfer_stress_mae_component_gpa"] is None
    assert found["size_transfer_energy_mae_per_atom_mev"] is not None


def test_without_reference_nothing_is_asked(tmp_path):
    model = CalculatorEvaluator(EMT, ("Cu",), scaled_answers(np.nan))
    result = do(size_transfer.TASK, model, tmp_path)
    assert (result.status, model.calls) == ("no_reference", 0)
    assert set(values(result).values()) == {None}


def test_frames_of_one_size_are_asked_at_once(sizes, tmp_path):
    model = CalculatorEvaluator(EMT, ("Cu",))
    do(size_transfer.TASK, model, tmp_path, references=sizes)
    assert model.calls == 3
