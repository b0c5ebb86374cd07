"""The passes over edges where types share one table and weight what it says.

As ``kernels.passes``, with G (1 + w T) for G: T is a row per pair of types, w a number
of the edge whose slope dw/ds goes with it. The adjoint gives the gradient by T, too.
``reference`` is plain torch, ``compiled`` numba; both have the same functions.
"""

from dpbench.kernels.strip.data import Share

__all__ = ["Share"]
