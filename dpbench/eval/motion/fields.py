"""Force fields of evaluators: dpbench's kernels, or one call for all replicas."""

from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.native import NativeEvaluator
from dpbench.frames import Frames, uniform
from dpbench.md.forces import ForceField, Forces
from dpbench.md.models import force_field

SKIN = 1.0
"""Å, extra radius of neighbour lists."""


def field_of(
    evaluator: AbstractEvaluator, z: NDArray[np.integer], nreplicas: int
) -> ForceField:
    """Make what gives the forces of replicas of one structure.

    Args:
        evaluator: The model on its backend.
        z: (atom), atomic numbers of one replica.
        nreplicas: How many run side by side.

    Raises:
        ModelError: If the model does not know an element.
    """
    if isinstance(evaluator, NativeEvaluator):
        return force_field(
            evaluator.model,
            z,
            nreplicas=nreplicas,
            skin=SKIN,
            sel_overflow=evaluator.overflow,
        )
    return EvaluatorForces(evaluator, z)


@final
class EvaluatorForces:
    """Any evaluator as a force field; it keeps its neighbour lists to itself."""

    def __init__(self, evaluator: AbstractEvaluator, z: NDArray[np.integer]) -> None:
        """Take a model, and the atomic numbers (atom) that all replicas share."""
        self._evaluator, self._z = evaluator, np.asarray(z)
        self._is_periodic = False

    @property
    def rcut(self) -> float:
        """Zero, Å: there is no list that could miss a pair."""
        return 0.0

    @property
    def skin(self) -> float:
        """How far atoms may move, Å, before ``build`` is asked for."""
        return SKIN

    def build(self, coord: Tensor, box: Tensor, pbc: NDArray[np.bool_]) -> None:
        """Remember whether there is a cell."""
        self._is_periodic = bool(pbc.all())

    def evaluate(self, coord: Tensor, box: Tensor) -> Forces:
        """Evaluate all replicas in one call; a virial that is not given is NaN.

        Raises:
            DpbenchError: As the evaluator does.
        """
        device = coord.device
        cells = box.detach().cpu().numpy()
        places = coord.detach().cpu().numpy().reshape(len(cells), len(self._z), 3)
        found = self._evaluator.predict(
            frames_of(self._z, places, cells, self._is_periodic)
        )
        virial = np.array(found.virial, np.float64)
        if found.no_virial is not None:
            virial[found.no_virial] = np.nan

        def tensor(array: NDArray[np.float64]) -> Tensor:
            return torch.tensor(array, dtype=torch.float64, device=device)

        return Forces(
            energy=tensor(found.energy),
            force=tensor(found.force),
            virial=tensor(virial),
        )


def frames_of(
    z: NDArray[np.integer],
    coord: NDArray[np.float64],
    box: NDArray[np.float64],
    is_periodic: bool,
) -> Frames:
    """Return replicas as frames without labels."""
    return uniform(z=z, coord=coord, box=box if is_periodic else None)
