"""Sums over the neighbours of each atom: the descriptor's moments and their adjoints.

Products of edge rows R (edge, 4), edge features G (edge, M) and atom moments
X (atom, 4, M), each linear in both its arguments:

moments   X[a] = sum_e R[e] (x) G[e]     over the edges e of atom a
project   P[e] = X[a] . G[e]             contracting features
spread    G[e] = R[e] . X[a]             contracting rows

Each is the adjoint of the others, so forces and their derivatives need nothing else;
``row_gradient`` is what forces need, in one pass.
"""

from dpbench.kernels.contraction.edges import EdgeRange
from dpbench.kernels.contraction.products import moments, row_gradient, spread

__all__ = ["EdgeRange", "moments", "row_gradient", "spread"]
