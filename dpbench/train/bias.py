"""Fitting the energy bias once more, when the nets are trained."""

from dataclasses import replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from dpbench.models.potential import DeepPotential
from dpbench.models.statistics import EnergyNormal, energy_normal
from dpbench.train.loader import FrameCache
from dpbench.train.resident import BatchMaker

MOST_FRAMES = 4096
"""Most training frames that are evaluated for it, evenly taken."""

FRAMES_AT_ONCE = 16


def refit_energy_bias(
    model: DeepPotential, cache: FrameCache, make_batch: BatchMaker
) -> DeepPotential:
    """Return ``model`` with the bias that fits its training energies best.

    The shift of each element is the least-squares (least-norm) solution of
    sum_types natoms * shift = E* - E over the training frames. Forces and virials do
    not change. Where no energy is labelled the model is returned as it is.

    Args:
        model: The trained model.
        cache: The training frames.
        make_batch: Makes batches of them.

    Source:
        DeePMD-kit, ``change_bias_after_training``.
    """
    total = len(cache)
    count = min(total, MOST_FRAMES)
    chosen = np.unique(np.linspace(0, total - 1, count).round().astype(np.int64))
    pieces = np.array_split(chosen, max(1, len(chosen) // FRAMES_AT_ONCE))
    left = [_residuals(model, cache, make_batch, piece) for piece in pieces]
    normal: EnergyNormal = reduce(lambda a, b: a + b, left)
    if not normal.count.sum():
        return model
    shift, _, _ = normal.solve(rcond=model.config.fitting.rcond)
    statistics = model.statistics
    shifted = replace(statistics, energy_bias=statistics.energy_bias + shift)
    return DeepPotential(model.config, model.parameters, shifted)


def _residuals(
    model: DeepPotential,
    cache: FrameCache,
    make_batch: BatchMaker,
    positions: NDArray[np.int64],
) -> EnergyNormal:
    """Sum up what the model leaves of the energies of some frames."""
    frames = cache.frames_at(positions)
    predicted = model.energy_and_forces(make_batch(positions)).energy
    residual = frames.energy - predicted.cpu().numpy()
    return energy_normal(replace(frames, energy=residual), model.type_map)
