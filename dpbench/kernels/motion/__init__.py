"""The moves of molecular dynamics: kick, drift, friction, scaling, displacement.

``reference`` is plain torch for any device, ``cpu`` the same compiled by numba. Both
work in place on float64 tensors (replica, atom, 3).
"""

from dpbench.kernels.motion.moves import Moves, moves_for

__all__ = ["Moves", "moves_for"]
