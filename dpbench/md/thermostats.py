"""Thermostats that act on all velocities of a replica at once."""

import math
from typing import final

import torch
from torch import Tensor

from dpbench.errors import SimulationError
from dpbench.kernels.motion import Moves
from dpbench.md.settings import Baths
from dpbench.md.state import State
from dpbench.shapes import Float64
from dpbench.units import BOLTZMANN

_OUTER = 1 / (2 - 2 ** (1 / 3))
SUZUKI_YOSHIDA = (_OUTER, 1 - 2 * _OUTER, _OUTER)
"""Weights of a fourth-order splitting."""

_REST = 1e-12
"""Part of the thermal energy below which atoms are at rest: the decimals of files leave
as much."""


@final
class NoseHooverChains:
    """A Nose-Hoover chain on the kinetic energy of each replica.

    Conserved: E + sum_j Q_j v_j^2 / 2 + N_f kT x_1 + kT sum_{j>1} x_j, with
    Q_1 = N_f kT tdamp^2 and Q_j = kT tdamp^2 as in LAMMPS and ASE.

    Source:
        G. J. Martyna, M. L. Klein, M. Tuckerman, J. Chem. Phys. 97, 2635 (1992);
        G. J. Martyna et al., Mol. Phys. 87, 1117 (1996).
    """

    def __init__(self, state: State, baths: Baths, dof: int, moves: Moves) -> None:
        """Start with chains at rest, unless ``state.bath`` has them already."""
        kt = BOLTZMANN * baths.temperature
        dt, tdamp = baths.timestep / 1000, baths.tdamp / 1000
        shape = (state.nreplicas, baths.tchain)
        for name in ("chain_position", "chain_rate"):
            if name not in state.bath:
                state.bath[name] = state.coord.new_zeros(shape)
        inertia = state.coord.new_full((baths.tchain,), kt * tdamp**2)
        inertia[0] *= dof
        self._constants = (inertia, kt, float(dof))
        self._weights = tuple(
            weight * dt / baths.tloop
            for _ in range(baths.tloop)
            for weight in SUZUKI_YOSHIDA
        )
        self._moves = moves
        self._factor = torch.ones_like(state.energy)

    def half(self, state: State) -> None:
        """Take the chains half a step further and scale the velocities."""
        chain = state.bath["chain_position"], state.bath["chain_rate"]
        self._moves.chain_half(
            state.twice_kinetic(), chain, self._constants, self._weights, self._factor
        )
        self._moves.rescale(state.velocity, self._factor)
        state.kinetic.mul_((self._factor**2)[:, None, None])

    def energy(self, state: State) -> Float64[Tensor, " replica"]:
        """What the chains hold, eV."""
        inertia, kt, dof = self._constants
        position, rate = state.bath["chain_position"], state.bath["chain_rate"]
        kinetic = 0.5 * (inertia * rate**2).sum(dim=1)
        return kinetic + kt * (dof * position[:, 0] + position[:, 1:].sum(dim=1))


@final
class StochasticRescaling:
    """Velocities scaled so that the kinetic energy is canonical; dynamics is kept.

    Source:
        G. Bussi, D. Donadio, M. Parrinello, J. Chem. Phys. 126, 014101 (2007), eq. A7.
    """

    def __init__(self, baths: Baths, dof: int, moves: Moves) -> None:
        """Take temperature, time step and ``tdamp`` from ``baths``."""
        self._keep = math.exp(-baths.timestep / baths.tdamp)
        self._kt = BOLTZMANN * baths.temperature
        self._dof = dof
        self._moves = moves

    def check(self, state: State) -> None:
        """Look at velocities before the first step.

        Raises:
            SimulationError: If the atoms of a replica are at rest.
        """
        least = _REST * self._dof * self._kt
        is_moving = state.twice_kinetic() > least
        if not bool(is_moving.all()):
            replica = int(torch.nonzero(torch.logical_not(is_moving))[0])
            raise SimulationError(
                f"replica {replica}: its atoms are at rest; expected velocities, which "
                "the bussi thermostat can but scale. Draw them (--velocities draw), or "
                "use another thermostat."
            )

    def step(self, state: State, generator: torch.Generator) -> None:
        """Scale the velocities of each replica; count the heat."""
        noise = torch.randn(
            state.nreplicas,
            self._dof,
            generator=generator,
            dtype=torch.float64,
            device=state.device,
        )
        twice = state.twice_kinetic()
        keep = self._keep
        # (1 - c) kT / (2 K), of which the mean of dof squares makes the target.
        share = (1 - keep) * self._kt / twice
        first = noise[:, 0]
        square = (
            keep
            + share * (noise * noise).sum(dim=1)
            + 2 * first * torch.sqrt(keep * share)
        )
        sign = torch.sign(first + torch.sqrt(keep / share))
        factor = sign * torch.sqrt(square)
        self._moves.rescale(state.velocity, factor)
        state.kinetic.mul_(square[:, None, None])
        state.heat.add_((square - 1) * twice, alpha=0.5)


def friction(baths: Baths) -> tuple[float, float]:
    """Factors of the exact Ornstein-Uhlenbeck step over one time step.

    Returns:
        c = exp(-dt / tdamp) and sqrt((1 - c^2) kT), eV^(1/2).

    Source:
        B. Leimkuhler, C. Matthews, Appl. Math. Res. Express 2013, 34: BAOAB.
    """
    keep = math.exp(-baths.timestep / baths.tdamp)
    return keep, math.sqrt((1 - keep**2) * BOLTZMANN * baths.temperature)
