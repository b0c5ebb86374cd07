"""Cheap force fields behind the protocol of molecular dynamics, and runs with them."""

import math

import numpy as np
import torch
from numba import njit

from dpbench.md.dynamics import Dynamics
from dpbench.md.forces import Forces
from dpbench.md.settings import Baths
from dpbench.md.state import Structure, start_state
from dpbench.md.velocities import draw_velocities, remove_momentum
from dpbench.units import AMU, BOLTZMANN

MASS = 20.0 * AMU


class Field:
    """A force field without a neighbour list."""

    rcut, skin = 3.0, 1e9

    def __init__(self):
        self.builds = 0

    def build(self, coord, box, pbc):
        self.builds += 1

    def evaluate(self, coord, box):
        energy, force, virial = self.arrays(
            coord.numpy().reshape(len(box), -1, 3), box.numpy()
        )
        return Forces(
            energy=torch.from_numpy(energy),
            force=torch.from_numpy(force.reshape(-1, 3)),
            virial=torch.from_numpy(virial),
        )


class IdealGas(Field):
    """No forces at all."""

    def arrays(self, coord, box):
        return np.zeros(len(box)), np.zeros_like(coord), np.zeros((len(box), 3, 3))


class Springs(Field):
    """Every atom on a spring to the origin: k in eV/Å^2."""

    def __init__(self, k=2.0):
        super().__init__()
        self.k = k

    def arrays(self, coord, box):
        energy = 0.5 * self.k * (coord**2).sum(axis=(1, 2))
        virial = -self.k * np.einsum("rai,raj->rij", coord, coord)
        return energy, -self.k * coord, virial


class SoftSpheres(Field):
    """U = A (1 - (r/rcut)^2)^4 between the nearest images in an upright cell."""

    def __init__(self, height=0.6):
        super().__init__()
        self.height = height

    def arrays(self, coord, box):
        energy = np.zeros(len(box))
        force = np.zeros_like(coord)
        virial = np.zeros((len(box), 3, 3))
        edges = np.ascontiguousarray(np.diagonal(box, axis1=1, axis2=2))
        # Nearest images are all there is as long as this holds.
        assert edges.min() >= 2 * self.rcut
        _soft_spheres(coord, edges, (self.height, self.rcut), (energy, force, virial))
        return energy, force, virial


@njit(cache=True)
def _soft_spheres(coord, edges, shape, outs):
    height, rcut = shape
    energy, force, virial = outs
    d = np.empty(3)
    for r in range(len(coord)):
        for i in range(coord.shape[1]):
            for j in range(i):
                square = 0.0
                for k in range(3):
                    d[k] = coord[r, i, k] - coord[r, j, k]
                    d[k] -= edges[r, k] * round(d[k] / edges[r, k])
                    square += d[k] * d[k]
                x = 1 - square / rcut**2
                if x <= 0:
                    continue
                energy[r] += height * x**4
                slope = 8 * height * x**3 / rcut**2  # -dU/dr / r
                for k in range(3):
                    force[r, i, k] += slope * d[k]
                    force[r, j, k] -= slope * d[k]
                    for m in range(3):
                        virial[r, k, m] += slope * d[k] * d[m]


def lattice(edge_count=3, spacing=2.2, **options):
    """A cubic grid of neon-like atoms with a little disorder."""
    rng = np.random.default_rng(7)
    grid = np.array(list(np.ndindex((edge_count,) * 3)), float) * spacing
    coord = grid + rng.normal(0, 0.05, grid.shape)
    return Structure(
        where="lattice",
        z=np.full(len(coord), 10),
        coord=coord,
        box=np.eye(3) * edge_count * spacing,
        pbc=np.ones(3, dtype=bool),
        **options,
    )


def start(field, structure, baths, *, nreplicas=1, seed=1):
    """A started run with drawn velocities."""
    mass = np.full(structure.natoms, MASS)
    state = start_state(structure, nreplicas=nreplicas, mass=mass)
    drawn = draw_velocities(mass, baths.temperature, seed=seed, nreplicas=nreplicas)
    state.velocity.copy_(torch.from_numpy(drawn))
    generator = torch.Generator().manual_seed(seed)
    dynamics = Dynamics(field, state, baths, generator=generator)
    if not baths.is_momentum_free:
        remove_momentum(state)
    dynamics.start()
    return dynamics


def series(dynamics, steps, names, *, every=1):
    """Run; return what ``names`` of the state give at every so many steps."""
    found = {name: [] for name in names}
    for step in range(1, steps + 1):
        dynamics.step()
        if step % every == 0:
            for name in names:
                value = getattr(dynamics.state, name)
                value = value() if callable(value) else value
                found[name].append(value.numpy().copy())
    return {name: np.array(values) for name, values in found.items()}


def decorrelated(values, *, discard=0.2, spacing=4):
    """Thin a series (sample, replica) by multiples of its correlation time."""
    kept = values[int(discard * len(values)) :]
    delta = kept - kept.mean()
    variance = (delta**2).mean()
    time = 0.5
    for lag in range(1, len(kept) // 2):
        rho = (delta[lag:] * delta[:-lag]).mean() / variance
        if rho < 0.05:
            break
        time += rho
    return kept[:: max(1, math.ceil(spacing * time))].ravel(), time


def standard_error(values, *, discard=0.2):
    """Standard error of the mean of correlated series (sample, replica)."""
    kept = values[int(discard * len(values)) :]
    _, time = decorrelated(values, discard=discard)
    return kept.std() * math.sqrt(2 * max(time, 0.5) / kept.size)


def kinetic_scale(baths: Baths) -> float:
    """kT, eV: K of f degrees of freedom is gamma(f/2) in this unit."""
    return BOLTZMANN * baths.temperature
