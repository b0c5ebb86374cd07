"""Sums over the neighbours of each atom: the descriptor's moments and their adjoints.

Three products of edge rows R (edge, 4), edge features G (edge, M) and atom moments
X (atom, 4, M), each linear in both its arguments:

moments   X[a] = sum_e R[e] (x) G[e]     over the edges e of atom a
project   P[e] = X[a] . G[e]             contracting features
spread    G[e] = R[e] . X[a]             contracting rows

Each is the adjoint of the others, so forces and their derivatives need nothing else.
"""

from dpbench.kernels.contraction.products import EdgeRange, moments, project

__all__ = ["EdgeRange", "moments", "project"]
