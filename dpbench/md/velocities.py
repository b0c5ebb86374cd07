"""Velocities: drawing them, taking the momentum out, counting degrees of freedom."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpbench.md.state import State
from dpbench.shapes import Float64
from dpbench.units import BOLTZMANN


def degrees_of_freedom(natoms: int, *, is_momentum_free: bool) -> int:
    """Count the degrees of freedom that share the thermal energy.

    Args:
        natoms: Number of atoms.
        is_momentum_free: Whether something (Langevin friction) moves the centre of
            mass; else its three degrees of freedom are at rest for ever.

    Returns:
        3 N or 3 N - 3; a lone atom keeps its three.
    """
    return 3 * natoms if is_momentum_free or natoms == 1 else 3 * natoms - 3


def draw_velocities(
    mass: NDArray[np.float64], temperature: float, *, seed: int, nreplicas: int
) -> NDArray[np.float64]:
    """Draw Maxwell-Boltzmann velocities, Å/ps, (replica, atom, 3).

    A replica's velocities depend on the seed and its number alone.

    Args:
        mass: (atom), eV ps^2/Å^2.
        temperature: K.
        seed: Of the run.
        nreplicas: How many sets.
    """
    width = np.sqrt(BOLTZMANN * temperature / mass)[:, np.newaxis]
    return np.stack(
        [
            width * np.random.default_rng((seed, replica)).normal(size=(len(mass), 3))
            for replica in range(nreplicas)
        ]
    )


def remove_momentum(state: State) -> None:
    """Bring the centre of mass of each replica to rest; a lone atom is left alone."""
    if state.natoms == 1:
        return
    share = state.mass / state.mass.sum()
    state.velocity -= torch.einsum("a,rac->rc", share, state.velocity).unsqueeze(1)


def twice_kinetic(state: State) -> Float64[Tensor, " replica"]:
    """Twice the kinetic energy of the velocities as they are, eV."""
    twice: Tensor = torch.einsum(
        "a,rac,rac->r", state.mass, state.velocity, state.velocity
    )
    return twice


def scale_to(state: State, temperature: float, dof: int) -> None:
    """Scale the velocities of each replica to exactly this temperature (K)."""
    twice = twice_kinetic(state)
    wanted = dof * BOLTZMANN * temperature
    factor = torch.where(twice > 0, wanted / twice, 0.0).sqrt()
    state.velocity *= factor[:, None, None]
