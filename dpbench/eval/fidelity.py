"""What a fast mode costs in accuracy: the same weights against float64."""

import numpy as np

from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.predict import KeptPredictions
from dpbench.eval.task_results import Fidelity
from dpbench.store.dataset import DatasetVersion

MOST_FRAMES = 32
"""Frames that are evaluated twice."""


def compare_with_reference(
    kept: KeptPredictions, version: DatasetVersion, reference: AbstractEvaluator
) -> Fidelity:
    """Hold the first predictions against those of a reference.

    Args:
        kept: Answers of the fast mode.
        version: The version that ``kept.indices`` refer to.
        reference: The same weights, in float64.
    """
    nframes = min(MOST_FRAMES, len(kept.indices))
    frames = version.read(kept.indices[:nframes])
    exact, fast = reference.predict(frames), kept.part(0, nframes)
    energy = 1000 * np.abs(fast.energy - exact.energy) / frames.natoms
    force = 1000 * np.abs(fast.force - exact.force)
    return Fidelity(
        reference=f"{reference.backend}, {reference.precision}",
        nframes=nframes,
        energy_max_per_atom_mev=float(energy.max()),
        force_mae_component_mev_per_ang=float(force.mean()),
        force_max_component_mev_per_ang=float(force.max()),
    )
