"""The training seam: losses and gradients of a batch.

The trainer never calls ``backward``: it calls ``losses_and_gradients``. This is the
reference engine, where forces are explicit and autograd differentiates the loss by the
parameters. It is the one place that uses autograd.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dpbench.kernels.batch import Batch
from dpbench.models.potential import DeepPotential
from dpbench.shapes import Float, Float64
from dpbench.train.loss import LossTerms, Prefactors, loss_terms

__all__ = ["Prefactors", "StepResult", "losses", "losses_and_gradients"]

ENGINE = "reference"
"""Name of the engine, for records."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepResult:
    """Loss, errors and gradient of a batch, as tensors: nothing waits for a GPU."""

    loss: Float64[Tensor, ""]
    """L."""
    mse_energy: Float64[Tensor, ""]
    """Mean of ((E - E*) / N)^2, eV^2; NaN without label."""
    mse_force: Float64[Tensor, ""]
    """Mean of (F - F*)^2 over components, (eV/Å)^2; NaN without label."""
    mse_virial: Float64[Tensor, ""]
    """Mean of ((Xi - Xi*) / N)^2 over components, eV^2; NaN without label, and where
    the virial has no prefactor, because it is not computed then."""
    gradient: Float[Tensor, " parameter"]
    """dL/dparameters, in the layout of ``model.parameters.flat``."""


def losses_and_gradients(
    model: DeepPotential, batch: Batch, prefactors: Prefactors
) -> StepResult:
    """Evaluate the loss of a batch and its gradient by all parameters.

    Args:
        model: The model; its parameters are read, never changed.
        batch: Frames on the model's device and in its precision.
        prefactors: Weights of the loss terms at this step.
    """
    flat = model.parameters.flat.detach().requires_grad_(True)
    with torch.enable_grad():
        views = model.parameters.unflatten(flat)
        with_virial = prefactors.virial != 0
        prediction = model.evaluate(views, batch, with_virial=with_virial)
        terms = loss_terms(prediction, batch, prefactors)
        gradient = torch.zeros_like(flat, requires_grad=False)
        if terms.loss.requires_grad:  # not so where every prefactor is zero
            (gradient,) = torch.autograd.grad(terms.loss, flat)
    mse_virial = terms.mse_virial
    if not with_virial:
        mse_virial = torch.full_like(mse_virial, torch.nan)
    return StepResult(
        loss=terms.loss.detach(),
        mse_energy=terms.mse_energy,
        mse_force=terms.mse_force,
        mse_virial=mse_virial,
        gradient=gradient,
    )


def losses(model: DeepPotential, batch: Batch, prefactors: Prefactors) -> LossTerms:
    """Evaluate the loss of a batch without gradient, e.g. for validation."""
    return loss_terms(model.energy_and_forces(batch), batch, prefactors)
