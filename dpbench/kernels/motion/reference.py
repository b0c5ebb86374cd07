"""Moves of molecular dynamics in plain torch, for any device; see ``cpu``."""

import torch
from torch import Tensor


def kick_drift(
    coord: Tensor, velocity: Tensor, force: Tensor, kick: Tensor, dt: float
) -> None:
    """Add ``kick`` (atom) x force to velocity, then ``dt`` x velocity to coord."""
    velocity.addcmul_(force, kick.unsqueeze(1))
    coord.add_(velocity, alpha=dt)


def kick_measure(
    velocity: Tensor, force: Tensor, kick: Tensor, mass: Tensor, kinetic: Tensor
) -> None:
    """Kick, and write sum m v (x) v of each replica to ``kinetic`` (replica, 3, 3)."""
    velocity.addcmul_(force, kick.unsqueeze(1))
    torch.matmul((velocity * mass.unsqueeze(1)).mT, velocity, out=kinetic)


def ornstein(
    velocity: Tensor,
    noise: Tensor,
    mass: Tensor,
    factors: tuple[float, float],
    heat: Tensor,
) -> None:
    """Make v = c v + s sqrt(1/m) noise; add the kinetic energy gained to ``heat``."""
    weight = mass.unsqueeze(1)
    new = factors[0] * velocity + factors[1] * noise / weight.sqrt()
    gained = (weight * (new - velocity) * (new + velocity)).sum(dim=(1, 2))
    heat.add_(gained, alpha=0.5)
    velocity.copy_(new)


def scale_drift(coord: Tensor, velocity: Tensor, stretch: Tensor, dt: float) -> None:
    """Multiply x by ``stretch`` (replica, 3), divide v by it, then drift."""
    velocity.div_(stretch.unsqueeze(1))
    coord.mul_(stretch.unsqueeze(1)).add_(velocity, alpha=dt)


def drift(coord: Tensor, velocity: Tensor, dt: float) -> None:
    """Add ``dt`` x velocity to coord."""
    coord.add_(velocity, alpha=dt)


def rescale(velocity: Tensor, factor: Tensor) -> None:
    """Multiply the velocities of each replica by ``factor`` (replica)."""
    velocity.mul_(factor[:, None, None])


def farthest(coord: Tensor, origin: Tensor, change: Tensor, out: Tensor) -> None:
    """Write max |x - origin @ change|^2 of each replica to ``out`` (replica)."""
    moved = coord - origin @ change
    torch.amax((moved * moved).sum(dim=2), dim=1, out=out)


def chain_half(
    twice_kinetic: Tensor,
    chain: tuple[Tensor, Tensor],
    constants: tuple[Tensor, float, float],
    weights: tuple[float, ...],
    factor: Tensor,
) -> None:
    """Half a step of Nose-Hoover chains; ``factor`` (replica) scales velocities.

    Args:
        twice_kinetic: Twice the kinetic energy of each replica, eV.
        chain: Positions and rates (1/ps), (replica, link); moved in place.
        constants: Inertia of each link (eV ps^2), kT (eV), degrees of freedom.
        weights: Time of each substep, ps; they sum up to the whole time step.
        factor: Where the scale factors go.

    Source:
        G. J. Martyna et al., Mol. Phys. 87, 1117 (1996), the operator of eq. 29-31.
    """
    position, rate = chain
    last = len(constants[0]) - 1
    twice = twice_kinetic.clone()
    factor.fill_(1.0)
    v = list(rate.unbind(1))
    for w in weights:
        v[last] = v[last] + _push(last, v, twice, constants) * w / 4
        for j in range(last - 1, -1, -1):
            damping = torch.exp(-v[j + 1] * w / 8)
            v[j] = (v[j] * damping + _push(j, v, twice, constants) * w / 4) * damping
        shrink = torch.exp(-v[0] * w / 2)
        factor.mul_(shrink)
        twice = twice * shrink * shrink
        position.add_(torch.stack(v, dim=1), alpha=w / 2)
        for j in range(last):
            damping = torch.exp(-v[j + 1] * w / 8)
            v[j] = (v[j] * damping + _push(j, v, twice, constants) * w / 4) * damping
        v[last] = v[last] + _push(last, v, twice, constants) * w / 4
    rate.copy_(torch.stack(v, dim=1))


def _push(
    link: int,
    rate: list[Tensor],
    twice: Tensor,
    constants: tuple[Tensor, float, float],
) -> Tensor:
    """Acceleration of one link of each chain, 1/ps^2."""
    inertia, kt, dof = constants
    if link == 0:
        return (twice - dof * kt) / inertia[0]
    return (inertia[link - 1] * rate[link - 1] ** 2 - kt) / inertia[link]
