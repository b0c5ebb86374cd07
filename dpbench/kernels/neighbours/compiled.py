"""The compiled searches: all pairs in thick cells, a cell list in all others."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.kernels.neighbours.cell import Lattice, Neighbours, make_lattice
from dpbench.kernels.neighbours.cpu import cell_list
from dpbench.kernels.neighbours.pairs import all_pairs, serves
from dpbench.kernels.neighbours.reference import brute_force


def find(lattice: Lattice, rcut: float) -> Neighbours:
    """Find all neighbours within ``rcut`` (Å)."""
    search = all_pairs if serves(lattice, rcut) else cell_list
    return search(lattice, rcut)


def check(dtype: Any = None) -> float:
    """Return the share of edges that differ from the reference's in small trials.

    Args:
        dtype: Not used: positions are float64 always.
    """
    generator = np.random.default_rng(11)
    wrong, total = 0, 0
    for size, periodic in ((9.0, True), (3.1, True), (7.0, False)):
        box = size * np.eye(3) + generator.uniform(-0.8, 0.8, (3, 3))
        coord = generator.uniform(-0.5, 1.5, (23, 3)) @ box
        lattice = make_lattice(coord, box, np.array([True, periodic, True]))
        expected = _rows(brute_force(lattice, 3.0))
        searches = [cell_list] + ([all_pairs] if serves(lattice, 3.0) else [])
        for search in searches:
            found = _rows(search(lattice, 3.0))
            same = found.shape == expected.shape and bool((found == expected).all())
            wrong += 0 if same else max(len(expected), 1)
            total += max(len(expected), 1)
    return wrong / total


def _rows(found: Neighbours) -> NDArray[np.int64]:
    """Return the edges as sorted rows: engines may differ in their order."""
    rows = np.column_stack([found.edge_i, found.edge_j, found.shift]).astype(np.int64)
    return rows[np.lexsort(rows.T[::-1])]
