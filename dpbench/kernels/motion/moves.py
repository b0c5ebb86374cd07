"""One signature for the moves, whoever makes them."""

from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from dpbench.kernels.choice import choose


@runtime_checkable
class Moves(Protocol):
    """What every variant of the family ``motion`` offers."""

    def kick_drift(
        self, coord: Tensor, velocity: Tensor, force: Tensor, kick: Tensor, dt: float
    ) -> None:
        """Kick velocities, then drift."""

    def kick_measure(
        self,
        velocity: Tensor,
        force: Tensor,
        kick: Tensor,
        mass: Tensor,
        kinetic: Tensor,
    ) -> None:
        """Kick velocities; sum m v (x) v."""

    def ornstein(
        self,
        velocity: Tensor,
        noise: Tensor,
        mass: Tensor,
        factors: tuple[float, float],
        heat: Tensor,
    ) -> None:
        """Friction and noise; count the heat."""

    def scale_drift(
        self, coord: Tensor, velocity: Tensor, stretch: Tensor, dt: float
    ) -> None:
        """Stretch the space, then drift."""

    def drift(self, coord: Tensor, velocity: Tensor, dt: float) -> None:
        """Drift alone."""

    def rescale(self, velocity: Tensor, factor: Tensor) -> None:
        """Scale velocities by replica."""

    def farthest(
        self, coord: Tensor, origin: Tensor, change: Tensor, out: Tensor
    ) -> None:
        """Largest squared displacement by replica."""

    def chain_half(
        self,
        twice_kinetic: Tensor,
        chain: tuple[Tensor, Tensor],
        constants: tuple[Tensor, float, float],
        weights: tuple[float, ...],
        factor: Tensor,
    ) -> None:
        """Half a step of Nose-Hoover chains."""


def moves_for(device: torch.device) -> Moves:
    """Return the moves that serve on a device."""
    return cast("Moves", choose("motion", device, torch.float64))
