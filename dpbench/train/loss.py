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
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpbench.kernels.batch import Batch
from dpbench.kernels.choice import choose
from dpbench.kernels.passes import reference
from dpbench.models.four_pass import OutputWeights
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


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelCounts:
    """How much is labelled in a batch, or in all parts of one that ranks share."""

    energy: Float64[Tensor, ""]
    """Frames with an energy."""
    force: Float64[Tensor, ""]
    """Atoms of frames with forces."""
    virial: Float64[Tensor, ""]
    """Frames with a virial."""


def label_counts(batch: Batch) -> LabelCounts:
    """Count what is labelled in a batch."""
    return LabelCounts(
        energy=batch.has_energy.sum().double(),
        force=batch.has_force[batch.frame_idx].sum().double(),
        virial=batch.has_virial.sum().double(),
    )


def loss_terms(
    prediction: Prediction,
    batch: Batch,
    prefactors: Prefactors,
    *,
    counts: LabelCounts | None = None,
) -> LossTerms:
    """Compare a prediction with the labels of its batch.

    Args:
        prediction: Of the batch.
        batch: Its labels.
        prefactors: Weights of the terms.
        counts: Numbers to divide by; those of the batch unless it is a part of one.
    """
    natoms = batch.natoms
    n = label_counts(batch) if counts is None else counts
    energy = (prediction.energy - batch.energy) ** 2
    force = ((prediction.force - batch.force) ** 2).mean(dim=1)
    virial = ((prediction.virial - batch.virial) ** 2).mean(dim=(1, 2))
    has_force = batch.has_force[batch.frame_idx]
    squares = [
        (prefactors.energy, _mean(energy / natoms, batch.has_energy, n.energy)),
        (prefactors.force, _mean(force, has_force, n.force)),
        (prefactors.virial, _mean(virial / natoms, batch.has_virial, n.virial)),
    ]
    loss = torch.zeros((), dtype=energy.dtype, device=energy.device)
    for prefactor, term in squares:
        if prefactor:
            loss = loss + prefactor * term
    with torch.no_grad():
        errors = (
            _mean(energy / natoms**2, batch.has_energy, n.energy, absent=torch.nan),
            _mean(force, has_force, n.force, absent=torch.nan),
            _mean(virial / natoms**2, batch.has_virial, n.virial, absent=torch.nan),
        )
    return LossTerms(
        loss=loss, mse_energy=errors[0], mse_force=errors[1], mse_virial=errors[2]
    )


def output_weights(
    prediction: Prediction,
    batch: Batch,
    prefactors: Prefactors,
    *,
    counts: LabelCounts | None = None,
) -> OutputWeights:
    """Return the derivatives of the loss by energies, forces and virials.

    Args:
        prediction: Of the batch.
        batch: Its labels.
        prefactors: Weights of the terms.
        counts: As in ``loss_terms``.
    """
    n = label_counts(batch) if counts is None else counts
    natoms = batch.natoms
    per_energy = 2 * prefactors.energy / n.energy.clamp(min=1)
    per_force = 2 * prefactors.force / (3 * n.force.clamp(min=1))
    per_virial = 2 * prefactors.virial / (9 * n.virial.clamp(min=1))
    has_force = batch.has_force[batch.frame_idx].unsqueeze(1)
    energy = (prediction.energy - batch.energy) / natoms
    force = prediction.force - batch.force
    virial = None
    if prefactors.virial:
        off = (prediction.virial - batch.virial) / natoms[:, None, None]
        virial = torch.where(batch.has_virial[:, None, None], off, 0.0) * per_virial
    return OutputWeights(
        energy=torch.where(batch.has_energy, energy, 0.0) * per_energy,
        force=torch.where(has_force, force, 0.0) * per_force,
        virial=virial,
    )


def score(
    prediction: Prediction,
    batch: Batch,
    prefactors: Prefactors,
    *,
    counts: LabelCounts | None = None,
) -> tuple[LossTerms, OutputWeights]:
    """Return what ``loss_terms`` and ``output_weights`` do, in one compiled pass.

    Where the kernels are not compiled, it calls those two.

    Args:
        prediction: Of the batch; nothing of it is differentiated.
        batch: Its labels.
        prefactors: Weights of the terms.
        counts: As in ``loss_terms``.
    """
    device = batch.energy.device
    if device.type != "cpu" or choose("passes", device) is reference:
        terms = loss_terms(prediction, batch, prefactors, counts=counts)
        return terms, output_weights(prediction, batch, prefactors, counts=counts)
    from dpbench.train import loss_loops

    loops: Any = loss_loops
    has = _arrays(batch.has_energy, batch.has_force, batch.has_virial)
    natoms, frame_idx = _arrays(batch.natoms, batch.frame_idx)
    numbers = np.empty(3)
    if counts is None:
        loops.count(*has, natoms, numbers)
    else:
        numbers[:] = [float(n) for n in (counts.energy, counts.force, counts.virial)]
    weights = [torch.empty_like(t) for t in (batch.energy, batch.force, batch.virial)]
    terms_found = torch.empty(4, dtype=torch.float64)
    loops.compare(
        _arrays(prediction.energy, prediction.force, prediction.virial),
        _arrays(batch.energy, batch.force, batch.virial),
        has,
        (natoms, frame_idx),
        numbers,
        np.array([prefactors.energy, prefactors.force, prefactors.virial]),
        _arrays(*weights),
        terms_found.numpy(),
    )
    loss, mse_energy, mse_force, mse_virial = terms_found.unbind()
    found = LossTerms(
        loss=loss, mse_energy=mse_energy, mse_force=mse_force, mse_virial=mse_virial
    )
    virial = weights[2] if prefactors.virial else None
    return found, OutputWeights(energy=weights[0], force=weights[1], virial=virial)


def _arrays(*tensors: Tensor) -> tuple[NDArray[Any], ...]:
    return tuple(tensor.detach().contiguous().numpy() for tensor in tensors)


def _mean(
    values: Float64[Tensor, " item"],
    is_labelled: Bool[Tensor, " item"],
    count: Float64[Tensor, ""],
    *,
    absent: float = 0.0,
) -> Float64[Tensor, ""]:
    """Average over labelled items; ``absent`` where there is none."""
    total = (values * is_labelled).sum()
    return torch.where(count > 0, total / count.clamp(min=1), absent)
