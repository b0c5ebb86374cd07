"""Fitting nets with force training's derivatives, written out: no autograd graph.

With x' a change of the descriptor and E' the change of the energy along it, training
on forces needs the gradient of sum_a (eps_a E_a + E'_a) by the parameters:

forward            a = x W + b,  y = f(a) idt + shortcut(x),  E = y of the last layer
backward           g = dE/dy;  delta = g idt f'(a);  dE/dx = delta W^T + shortcut^T(g)
tangent            a' = x' W,  y' = f'(a) a' idt + shortcut(x')
tangent_backward   delta' = g' idt f'(a) + g idt f''(a) a';  the change of dE/dx
weight_gradients   dW = [x'; x]^T [delta; delta' + eps delta],  one product a layer

``reference`` is plain torch for any device; ``compiled`` gives the same on CPUs with
less memory traffic, and ``infer`` for molecular dynamics, where no weight changes.
Atoms of one call share one net: sort them by type.
"""

from dpbench.kernels.fitting.states import Pass, Tangent

__all__ = ["Pass", "Tangent"]
"""States of a net; the functions are those of ``reference`` and ``compiled``."""
