"""Temperature from how far atoms move between two frames: is the time step right?"""

import numpy as np
from numpy.typing import NDArray

from dpbench.metrics.vdos import difference_velocities

FS_PER_PS = 1000.0


def equipartition_temperature(
    path: NDArray[np.float64],
    *,
    timestep: float,
    mass: NDArray[np.float64],
    kb: float,
) -> float | None:
    """Return the temperature that finite-difference velocities imply, K.

        T = <sum_i m_i v_i^2> / (3 (N - 1) kB), without the drift of the centre of mass

    A time step too long by a factor f makes it too low by f^2, so a wrong interval
    between the saved frames is seen at once. Fast vibrations make it read somewhat low:
    compare with a generous tolerance.

    Args:
        path: (frame, atom, 3), Å, without jumps at the faces of the cell.
        timestep: fs between two frames.
        mass: (atom), eV ps^2/Å^2.
        kb: Boltzmann's constant, eV/K.

    Returns:
        The mean over all frames; None for fewer than two frames or atoms.

    Source:
        Matbench Discovery, ``equipartition_temperature``.
    """
    if len(path) < 2 or len(mass) < 2:
        return None
    velocity = difference_velocities(path, timestep) * FS_PER_PS
    share = mass / mass.sum()
    velocity = velocity - np.einsum("a,fac->fc", share, velocity)[:, None]
    twice = np.einsum("a,fac,fac->f", mass, velocity, velocity)
    return float(twice.mean()) / (3 * (len(mass) - 1) * kb)
