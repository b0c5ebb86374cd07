"""Errors of a model over a fixed set of frames, pooled."""

import math
from collections.abc import Callable, Iterable
from typing import final

import torch
from torch import Tensor

from dpbench.kernels.batch import Batch
from dpbench.models.potential import DeepPotential, Prediction
from dpbench.train.history import Errors


@final
class SquaredErrors:
    """Running sums of squared errors; counts only what is labelled."""

    def __init__(self) -> None:
        """Start with nothing counted."""
        self._sums = torch.zeros(3, dtype=torch.float64)
        self._counts = torch.zeros(3, dtype=torch.float64)

    @torch.no_grad()
    def add(self, prediction: Prediction, batch: Batch) -> None:
        """Count the frames of one batch.

        Energies and virials are divided by the atoms of their frame before squaring.
        """
        natoms = batch.natoms.double()
        energy = (prediction.energy.double() - batch.energy) / natoms
        force = prediction.force.double() - batch.force
        virial = (prediction.virial.double() - batch.virial) / natoms[:, None, None]
        has_force = batch.has_force[batch.frame_idx]
        kept = (
            energy[batch.has_energy],
            force[has_force],
            virial[batch.has_virial],
        )
        for index, error in enumerate(kept):
            self._sums[index] += error.square().sum().cpu()
            self._counts[index] += error.numel()

    def share(self, add_up: Callable[[Tensor], Tensor]) -> None:
        """Add up what several processes have counted."""
        self._sums, self._counts = add_up(self._sums), add_up(self._counts)

    def errors(self) -> Errors:
        """Root mean squares of what was counted; NaN where nothing was."""
        energy, force, virial = (self._sums / self._counts).sqrt().tolist()
        return Errors(energy=energy, force=force, virial=virial)


def validate(
    model: DeepPotential,
    batches: Iterable[Batch],
    *,
    share: Callable[[Tensor], Tensor] | None = None,
) -> Errors:
    """Score ``model`` on all frames of ``batches``, each weighing the same.

    Args:
        model: The model.
        batches: The frames, or a share of them.
        share: Adds up what several processes have counted.
    """
    total = SquaredErrors()
    for batch in batches:
        total.add(model.energy_and_forces(batch), batch)
    if share is not None:
        total.share(share)
    return total.errors()


@final
class RunningErrors:
    """Mean squared errors of the training batches since the last row of the curve.

    Each batch weighs the same; a batch without a label does not count for it.
    """

    def __init__(self, sums: Tensor | None = None) -> None:
        """Start anew, or with the sums of a checkpoint (2, 3)."""
        empty = torch.zeros((2, 3), dtype=torch.float64)
        self.sums = empty if sums is None else sums.clone()

    def add(self, mean_squares: tuple[Tensor, Tensor, Tensor]) -> None:
        """Count a batch: mean squares of E/N, F and virial/N; NaN for no label."""
        found = torch.stack([value.detach().double() for value in mean_squares])
        self.sums = self.sums.to(found.device)
        is_labelled = ~torch.isnan(found)
        self.sums[0] += torch.where(is_labelled, found, 0.0)
        self.sums[1] += is_labelled

    def errors(self) -> Errors:
        """Root mean squares so far; NaN where nothing was labelled."""
        sums, counts = self.sums.tolist()
        energy, force, virial = (
            math.sqrt(s / n) if n else math.nan
            for s, n in zip(sums, counts, strict=True)
        )
        return Errors(energy=energy, force=force, virial=virial)
