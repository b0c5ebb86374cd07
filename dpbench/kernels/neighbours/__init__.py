"""Neighbours of every atom within a cutoff, for any cell, however small or skewed.

``find_neighbours`` is the public function. Behind it stand two engines with one
meaning: ``reference`` (numpy, all pairs and images) and ``cpu`` (numba, cell list).
Nothing here imports torch.
"""

from dpbench.kernels.neighbours.cell import Neighbours
from dpbench.kernels.neighbours.search import find_neighbours

__all__ = ["Neighbours", "find_neighbours"]
