"""Energies and forces of molecular dynamics with tabulated embedding.

``make_evaluator`` serves moving atoms, with a neighbour list of its own;
``make_batch_evaluator`` serves batches whose edges are known. Behind both stand the
variants ``compiled`` (CPUs, by numba) and ``reference`` (plain torch, any device).
"""

from torch import Tensor

from dpbench.kernels.choice import choose
from dpbench.kernels.inference.listed import DEFAULT_SKIN
from dpbench.kernels.inference.state import (
    AbstractBatchEvaluator,
    AbstractEvaluator,
    Forces,
    HasState,
    PotentialState,
)
from dpbench.shapes import Int

__all__ = [
    "DEFAULT_SKIN",
    "AbstractBatchEvaluator",
    "AbstractEvaluator",
    "Forces",
    "HasState",
    "PotentialState",
    "make_batch_evaluator",
    "make_evaluator",
]


def make_evaluator(
    potential: HasState,
    atype: Int[Tensor, " atom"],
    *,
    nreplicas: int = 1,
    skin: float = DEFAULT_SKIN,
) -> AbstractEvaluator:
    """Make an evaluator for replicas of one system that move.

    Args:
        potential: A model with tabulated embedding.
        atype: Types of the atoms of one replica.
        nreplicas: Copies of the system, each with coordinates and a cell.
        skin: Extra radius of the neighbour list, Å; zero needs a list at every call.
    """
    state = potential.state
    variant = choose("inference", state.device, state.dtype)
    made: AbstractEvaluator = variant.make_evaluator(
        potential, atype, nreplicas=nreplicas, skin=skin
    )
    return made


def make_batch_evaluator(potential: HasState) -> AbstractBatchEvaluator:
    """Make an evaluator for batches whose edges are known."""
    state = potential.state
    variant = choose("inference", state.device, state.dtype)
    made: AbstractBatchEvaluator = variant.make_batch_evaluator(state)
    return made
