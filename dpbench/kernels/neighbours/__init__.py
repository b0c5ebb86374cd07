"""Neighbours of every atom within a cutoff, for any cell, however small or skewed.

``find_neighbours`` is the public function. Behind it stand three engines with one
meaning: ``reference`` (numpy, all pairs and images), ``cpu`` (numba, cell list) and
``pairs`` (numba, all pairs of thick cells with few atoms).
Nothing here imports torch.
"""

from dpbench.kernels.neighbours.cell import Neighbours
from dpbench.kernels.neighbours.search import find_neighbours

__all__ = ["Neighbours", "find_neighbours"]
