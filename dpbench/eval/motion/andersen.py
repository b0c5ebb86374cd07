"""Andersen's thermostat, for runs that shall move as an ab initio run of it did."""

from collections.abc import Callable

import torch

from dpbench.eval.motion.replicas import Replicas
from dpbench.md.velocities import remove_momentum
from dpbench.units import BOLTZMANN


def collisions(
    *, temperature: float, timestep: float, time: float, seed: int
) -> Callable[[Replicas], None]:
    """Return what gives atoms new velocities after a step of constant energy.

    Each atom meets the bath with probability ``timestep / time`` in each step; its
    velocity is then drawn anew. The momentum of the whole is taken out, as pw.x does:
    that costs m / M of what a collision brings, and as much of what was there, so the
    bath is warmer than the atoms by a factor 1 + m / M (a ninth for eight atoms).

    Args:
        temperature: K, that the atoms shall have on average.
        timestep: fs.
        time: fs between two collisions of an atom; ``nraise * dt`` of pw.x.
        seed: Of the noise.

    Source:
        H. C. Andersen, J. Chem. Phys. 72, 2384 (1980).
    """
    generator = torch.Generator().manual_seed(seed)
    chance = min(1.0, timestep / time)

    def collide(replicas: Replicas) -> None:
        state = replicas.state
        shape = state.velocity.shape
        is_hit = (
            torch.rand(shape[:2], generator=generator, dtype=torch.float64) < chance
        )
        drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
        warmth = 1 + state.mass / state.mass.sum()
        width = (BOLTZMANN * temperature * warmth / state.mass).sqrt()[None, :, None]
        is_hit, drawn = is_hit.to(state.device), drawn.to(state.device)
        state.velocity.copy_(
            torch.where(is_hit[:, :, None], width * drawn, state.velocity)
        )
        remove_momentum(state)
        replicas.dynamics.measure()

    return collide
