"""The passes over edges behind a training step with tabulated embedding.

P1 ``moments``          X = sum_e R (x) G(s) of each atom
P2 ``edge_gradient``    g_e = dE/dd_e from dE/dX
P3 ``tangent_moments``  X' along a tangent of the edge vectors
P4 ``adjoint``          gradient of eps E + E' by the tables' coefficients

and what surrounds them: ``prepare`` (environment rows and places in the tables),
``tangent_rows`` (R' = J d'), ``assemble`` (forces and virials). ``reference`` is plain
torch, ``compiled`` numba; both have the same functions. Forces are linear in the
parameters' adjoints, so these passes give the exact gradient of a loss on energies,
forces and virials, without a graph.

Source:
    The forward-over-reverse product of Pearlmutter, Neural Computation 6, 147 (1994),
    applied to the Deep Potential.
"""

from dpbench.kernels.passes.data import Edges, Layout, Normal

__all__ = ["Edges", "Layout", "Normal"]
