"""One signature for the moves, whoever makes them."""

from typing import Any, Protocol, cast

import torch
from torch import Tensor

from dpbench.kernels.motion import reference


class Moves(Protocol):
    """What ``reference`` offers, and ``cpu`` through numba."""

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


class _Compiled:
    """The numba functions, taking tensors of the CPU."""

    def __getattr__(self, name: str) -> Any:
        # numba takes half a second to import: only who moves atoms pays for it.
        from dpbench.kernels.motion import cpu

        function = getattr(cpu, name)

        def call(*arguments: Any) -> None:
            function(*map(_plain, arguments))

        setattr(self, name, call)
        return call


def _plain(value: Any) -> Any:
    """Return tensors as numpy arrays that share their memory."""
    if isinstance(value, Tensor):
        return value.numpy()
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    return value


def moves_for(device: torch.device) -> tuple[str, Moves]:
    """Choose who makes the moves: numba on a CPU, else torch.

    Returns:
        The variant's name, for the record, and the moves.
    """
    if device.type == "cpu":
        return "numba", cast("Moves", _Compiled())
    return "reference", cast("Moves", reference)
