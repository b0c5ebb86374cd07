"""The public neighbour search: checks its input and chooses an engine by size."""

import functools
import logging
import os
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dpbench.kernels.families import IN_USE, VARIABLE, wishes
from dpbench.kernels.neighbours.cell import Lattice, Neighbours, make_lattice
from dpbench.kernels.neighbours.reference import brute_force

logger = logging.getLogger(__name__)

FEW_PAIRS = 30_000
"""Pairs times images up to which plain numpy is as fast as a cell list."""


def find_neighbours(
    coord: NDArray[np.floating],
    box: NDArray[np.floating],
    pbc: NDArray[np.bool_],
    rcut: float,
) -> Neighbours:
    """Find every neighbour within ``rcut`` of every atom, periodic images included.

    Args:
        coord: Å, (atom, 3); atoms may lie outside the cell.
        box: Å, (3, 3), rows are cell vectors; rows of open directions do not matter
            and may be NaN.
        pbc: (3), periodic along each cell vector.
        rcut: Cutoff radius, Å; may exceed the cell.

    Returns:
        Directed edges grouped by centre: (i, j) and (j, i) both appear.

    Raises:
        ValueError: If ``rcut`` is not positive, a coordinate is not finite, or the
            periodic cell vectors are not linearly independent.
    """
    if not rcut > 0:
        raise ValueError(f"need rcut > 0, got {rcut} Å")
    lattice = make_lattice(coord, box, pbc)
    pairs = len(lattice.coord) ** 2 * np.prod(2.0 * lattice.images(rcut) + 1)
    if pairs <= FEW_PAIRS:
        return brute_force(lattice, rcut)
    return _engine(os.environ.get(VARIABLE, "auto"))(lattice, rcut)


@functools.cache
def _engine(wish: str) -> Callable[[Lattice, float], Neighbours]:
    """Return the compiled search once it has agreed with the reference, or that."""
    if wishes(wish).get("neighbours") == "reference":
        IN_USE["neighbours"] = "reference"
        return brute_force
    # numba takes half a second to import: small systems never pay for it.
    try:
        from dpbench.kernels.neighbours import compiled

        wrong = compiled.check()
    except Exception as reason:  # whatever a compiler can say: the reference serves
        logger.warning("kernels: neighbours: %s; the slow reference serves", reason)
        wrong = 1.0
    if wrong:
        IN_USE["neighbours"] = "reference"
        IN_USE["neighbours rejected"] = "numba"
        return brute_force
    IN_USE["neighbours"] = "numba"
    return compiled.find
