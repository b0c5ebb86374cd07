"""How far a fast mode is from the same weights evaluated exactly, beside its speed."""

import numpy as np

from dpbench.errors import DpbenchError
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.speed.families import FAMILIES, elements_for, make_structure
from dpbench.eval.structures import displaced
from dpbench.eval.task_results import Fidelity

NATOMS, NSTRUCTURES = 64, 3
"""Atoms, at least, of the structures that both evaluate, and how many."""

AMPLITUDE = 0.1
"""Å by which atoms of these are moved, more than in what is timed."""


def fidelity_of(
    evaluator: AbstractEvaluator, reference: AbstractEvaluator
) -> Fidelity | None:
    """Compare both on shaken structures of the first family that the model knows.

    Args:
        evaluator: As it is timed.
        reference: The same weights in float64, embedding exact.

    Returns:
        The differences; None where the model knows no family, or refuses it.
    """
    for family in FAMILIES:
        elements = elements_for(family, evaluator.type_map)
        if elements:
            break
    else:
        return None
    start = make_structure(family, elements, natoms=NATOMS).frame
    energies, forces = [], []
    try:
        for seed in range(NSTRUCTURES):
            frame = displaced(start, amplitude=AMPLITUDE, seed=seed)
            fast, exact = evaluator.predict(frame), reference.predict(frame)
            energies.append(abs(float(fast.energy[0] - exact.energy[0])) / len(frame.z))
            forces.append(np.abs(fast.force - exact.force))
    except DpbenchError:
        return None  # the ladder says why
    return Fidelity(
        reference="dpbench, float64, exact embedding",
        nframes=NSTRUCTURES,
        energy_max_per_atom_mev=1000 * max(energies),
        force_mae_component_mev_per_ang=1000 * float(np.mean(forces)),
        force_max_component_mev_per_ang=1000 * float(np.max(forces)),
    )
