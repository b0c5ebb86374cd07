"""The public neighbour search: checks its input and chooses an engine by size."""

import numpy as np
from numpy.typing import NDArray

from dpbench.kernels.neighbours.cell import Neighbours, make_lattice
from dpbench.kernels.neighbours.reference import brute_force

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
    # numba takes half a second to import: small systems never pay for it.
    from dpbench.kernels.neighbours.cpu import cell_list
    from dpbench.kernels.neighbours.pairs import all_pairs, serves

    search = all_pairs if serves(lattice, rcut) else cell_list
    return search(lattice, rcut)
