"""Energies and forces of molecular dynamics with tabulated embedding.

``cpu`` holds the kernels compiled by numba; ``BlockRunner`` leads blocks of atoms
through them and the fitting nets; ``ListedEvaluator`` puts a neighbour list with skin
in front.
"""

from dpbench.kernels.inference.listed import (
    DEFAULT_SKIN,
    HasState,
    ListedEvaluator,
    make_evaluator,
)
from dpbench.kernels.inference.state import Forces, PotentialState

__all__ = [
    "DEFAULT_SKIN",
    "Forces",
    "HasState",
    "ListedEvaluator",
    "PotentialState",
    "make_evaluator",
]
