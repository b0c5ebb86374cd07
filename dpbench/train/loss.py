"""The loss of Deep Potential training; the formulas of DeePMD-kit's ``ener`` loss.

L = p_e L_e + p_f L_f + p_v L_v
L_e = mean over frames of (E - E*)^2 / N
L_f = mean over force components of (F - F*)^2
L_v = mean over frames and nine components of (Xi - Xi*)^2 / N

N is the frame's own number of atoms. A mean runs over what is labelled; a term whose
label is missing from the whole batch is zero.

Source:
    DeePMD-kit documentation, "Fit energy model"; note 1/N, not 1/N^2.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dpbench.kernels.batch import Batch
from dpbench.models.potential import Prediction
from dpbench.shapes import Bool, Float64


@dataclass(frozen=True, kw_only=True, slots=True)
class Prefactors:
    """Weights of the loss terms at one step."""

    energy: float
    """p_e."""
    force: float
    """p_f."""
    virial: float
    """p_v."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LossTerms:
    """Loss and errors of a batch; NaN where the batch has no such label."""

    loss: Float64[Tensor, ""]
    """L."""
    mse_energy: Float64[Tensor, ""]
    """Mean over frames of ((E - E*) / N)^2, eV^2; its root is DeePMD-kit's rmse_e."""
    mse_force: Float64[Tensor, ""]
    """Mean over components of (F - F*)^2, (eV/Å)^2."""
    mse_virial: Float64[Tensor, ""]
    """Mean over frames and components of ((Xi - Xi*) / N)^2, eV^2."""


def loss_terms(
    prediction: Prediction, batch: Batch, prefactors: Prefactors
) -> LossTerms:
    """Compare a prediction with the labels of its batch."""
    natoms = batch.natoms
    energy = (prediction.energy - batch.energy) ** 2
    force = ((prediction.force - batch.force) ** 2).mean(dim=1)
    virial = ((prediction.virial - batch.virial) ** 2).mean(dim=(1, 2))
    has_force = batch.has_force[batch.frame_idx]
    squares = [
        (prefactors.energy, _mean(energy / natoms, batch.has_energy)),
        (prefactors.force, _mean(force, has_force)),
        (prefactors.virial, _mean(virial / natoms, batch.has_virial)),
    ]
    loss = torch.zeros((), dtype=energy.dtype, device=energy.device)
    for prefactor, term in squares:
        if prefactor:
            loss = loss + prefactor * term
    with torch.no_grad():
        errors = (
            _mean(energy / natoms**2, batch.has_energy, absent=torch.nan),
            _mean(force, has_force, absent=torch.nan),
            _mean(virial / natoms**2, batch.has_virial, absent=torch.nan),
        )
    return LossTerms(
        loss=loss, mse_energy=errors[0], mse_force=errors[1], mse_virial=errors[2]
    )


def _mean(
    values: Float64[Tensor, " item"],
    is_labelled: Bool[Tensor, " item"],
    *,
    absent: float = 0.0,
) -> Float64[Tensor, ""]:
    """Average over labelled items; ``absent`` where there is none."""
    count = is_labelled.sum()
    total = (values * is_labelled).sum()
    return torch.where(count > 0, total / count.clamp(min=1), absent)
