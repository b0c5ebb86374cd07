"""The loss formulas against hand-made numbers."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from dpbench.frames import concatenate, uniform
from dpbench.models.potential import Prediction
from dpbench.train.loss import Prefactors, loss_terms, output_weights, score
from tests.models.structures import batch_of, mixed, model


def frame(natoms, *, energy=None, force=None, virial=None):
    return uniform(
        z=[8] * natoms,
        coord=np.arange(natoms)[:, None][None] * np.array([1.0, 0, 0]),
        energy=None if energy is None else np.array([energy]),
        force=None if force is None else np.full((1, natoms, 3), force),
        virial=None if virial is None else np.full((1, 3, 3), virial),
    )


def terms(frames, *, prefactors=None):
    """Compare the labels with a prediction of zeros."""
    batch = batch_of(frames, model())
    prediction = Prediction(
        energy=torch.zeros_like(batch.energy),
        force=torch.zeros_like(batch.force),
        virial=torch.zeros_like(batch.virial),
        atom_energy=torch.zeros(len(batch.atype), dtype=torch.float64),
    )
    weights = prefactors or Prefactors(energy=1, force=1, virial=1)
    return loss_terms(prediction, batch, weights)


def loss(frames, **weights):
    prefactors = Prefactors(**({"energy": 0, "force": 0, "virial": 0} | weights))
    return float(terms(frames, prefactors=prefactors).loss)


def test_energy_term_is_divided_by_atoms_once():
    assert loss(frame(4, energy=2.0), energy=3) == pytest.approx(3 * 4 / 4)


def test_force_term_is_the_mean_over_components():
    assert loss(frame(4, force=2.0), force=10) == pytest.approx(10 * 4)


def test_virial_term_is_divided_by_atoms_once():
    assert loss(frame(4, virial=6.0), virial=2) == pytest.approx(2 * 36 / 4)


def test_each_frame_is_divided_by_its_own_atoms():
    """Energies: (4/2 + 25/5) / 2; forces: (2 * 1 + 5 * 9) / 7 over atoms."""
    mixed = concatenate(
        [frame(2, energy=2.0, force=1.0), frame(5, energy=5.0, force=3.0)]
    )
    assert loss(mixed, energy=1) == pytest.approx((4 / 2 + 25 / 5) / 2)
    assert loss(mixed, force=1) == pytest.approx((2 * 1 + 5 * 9) / 7)


def test_unlabelled_frames_count_in_no_mean():
    mixed = concatenate([frame(2, energy=2.0), frame(3, force=1.0), frame(1)])
    found = terms(mixed)
    assert float(found.loss) == pytest.approx(4 / 2 + 1)
    assert float(found.mse_energy) == pytest.approx((2 / 2) ** 2)
    assert float(found.mse_force) == pytest.approx(1)
    assert math.isnan(float(found.mse_virial))


def test_a_term_without_any_label_is_zero():
    assert loss(frame(3), energy=1, force=1, virial=1) == 0


def test_printed_errors_are_per_atom():
    found = terms(frame(4, energy=2.0, virial=6.0))
    assert float(found.mse_energy) == pytest.approx((2 / 4) ** 2)
    assert float(found.mse_virial) == pytest.approx((6 / 4) ** 2)


@pytest.mark.parametrize("virial", [0.0, 0.3])
@pytest.mark.parametrize("missing", [(), ("energy",), ("force",), ("virial", "force")])
def test_one_pass_scores_as_the_formulas_do(virial, missing):
    """``score`` against ``loss_terms`` and the derivatives that autograd finds."""
    potential = model()
    batch = batch_of(mixed(), potential)
    absent = {f"has_{name}": torch.zeros(4, dtype=torch.bool) for name in missing}
    some = torch.tensor([True, False, True, True])
    batch = replace(batch, **({"has_energy": some, "has_force": some} | absent))
    prefactors = Prefactors(energy=0.7, force=2.0, virial=virial)
    found = potential.energy_and_forces(batch)
    leaves = [
        getattr(found, name).clone().requires_grad_(True)
        for name in ("energy", "force", "virial")
    ]
    again = replace(found, energy=leaves[0], force=leaves[1], virial=leaves[2])
    expected = loss_terms(again, batch, prefactors)
    terms, weights = score(found, batch, prefactors)
    for name in ("loss", "mse_energy", "mse_force", "mse_virial"):
        torch.testing.assert_close(
            getattr(terms, name), getattr(expected, name).detach(), equal_nan=True
        )
    grads = torch.autograd.grad(
        expected.loss, leaves, materialize_grads=True, allow_unused=True
    )
    torch.testing.assert_close(weights.energy, grads[0])
    torch.testing.assert_close(weights.force, grads[1])
    if virial:
        torch.testing.assert_close(weights.virial, grads[2])
    else:
        assert weights.virial is None
    slow = output_weights(found, batch, prefactors)
    torch.testing.assert_close(slow.force, weights.force)
    torch.testing.assert_close(slow.energy, weights.energy)
