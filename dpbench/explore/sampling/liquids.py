"""Liquids to start from: atoms or molecules at random that do not touch."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import SYMBOLS
from dpbench.errors import ConfigError
from dpbench.frames import Frames, uniform
from dpbench.io.quality.environments import covalent_radii
from dpbench.kernels.neighbours import find_neighbours
from dpbench.md.state import masses_of
from dpbench.units import AMU

GRAM_PER_CM3 = 0.602214076
"""In amu/Å^3."""

NOT_BONDED = 0.8
"""Å that an atom is larger to those of other molecules than by its covalent radius."""

ROUNDS = 500
"""Of pushing bodies apart before the liquid counts as too dense."""

Array = NDArray[np.float64]


def atoms_at_random(
    z: NDArray[np.integer], *, volume: float, spacing: float, rng: np.random.Generator
) -> Frames:
    """Put atoms into a cube, none too near to another.

    Args:
        z: (atom), atomic numbers.
        volume: Å^3 per atom.
        spacing: Least distance, in units of the covalent radii's sum.
        rng: Draws the places.

    Raises:
        ConfigError: If so many do not fit.
    """
    natoms = len(z)
    edge = (volume * natoms) ** (1 / 3)
    coord = rng.uniform(0, edge, size=(natoms, 3))
    radius = covalent_radii()[z] * spacing
    return _settled(z, coord, body=np.arange(natoms), edge=edge, radius=radius, rng=rng)


def molecules_at_random(
    molecules: Mapping[str, int],
    *,
    size: Mapping[str, float | None],
    spacing: float,
    rng: np.random.Generator,
) -> Frames:
    """Put molecules into a cube, turned at random, that do not touch.

    Args:
        molecules: Name that ASE's database of molecules knows -> how many.
        size: ``volume`` in Å^3 per atom or ``density`` in g/cm^3.
        spacing: Least distance of atoms of different molecules, in units of the sum of
            their covalent radii, each 0.8 Å larger.
        rng: Draws places and turns.

    Raises:
        ConfigError: If a molecule is unknown, or so many do not fit.
    """
    parts = [_molecule(name) for name, count in molecules.items() for _ in range(count)]
    if not parts:
        raise ConfigError("molecules: there is none; expected one at least.")
    z = np.concatenate([numbers for numbers, _ in parts])
    body = np.repeat(np.arange(len(parts)), [len(numbers) for numbers, _ in parts])
    edge = cube_edge(z, volume=size.get("volume"), density=size.get("density"))
    coord = np.concatenate(
        [place @ _rotation(rng).T + rng.uniform(0, edge, size=3) for _, place in parts]
    )
    return _settled(
        z,
        coord,
        body=body,
        edge=edge,
        radius=(covalent_radii()[z] + NOT_BONDED) * spacing,
        rng=rng,
    )


def cube_edge(
    z: NDArray[np.integer], *, volume: float | None, density: float | None
) -> float:
    """Return the edge of a cube, Å, from Å^3 per atom or g/cm^3.

    Raises:
        ConfigError: If neither is given.
    """
    if volume is not None:
        return float((volume * len(z)) ** (1 / 3))
    if density is None:
        raise ConfigError(
            "liquid: has no size; expected volume (Å^3 per atom) or density (g/cm^3). "
            "Give one of them."
        )
    mass = float(masses_of(z).sum()) / AMU
    return float((mass / (density * GRAM_PER_CM3)) ** (1 / 3))


def _molecule(name: str) -> tuple[NDArray[np.int64], Array]:
    """Return atomic numbers and places around their centre, Å."""
    from ase.build import molecule
    from ase.collections import g2

    if name in SYMBOLS[1:] and name not in g2.names:
        return np.array([SYMBOLS.index(name)]), np.zeros((1, 3))
    try:
        atoms: Any = molecule(name)
    except (KeyError, NotImplementedError) as error:
        raise ConfigError(
            f"molecules: '{name}' is unknown to ASE; expected a name such as H2O, CO2 "
            "or CH3OH. Use kind = 'file' for others."
        ) from error
    places: Array = atoms.positions - atoms.positions.mean(axis=0)
    return np.asarray(atoms.numbers, np.int64), places


def _rotation(rng: np.random.Generator) -> Array:
    """Draw a rotation; every one is as likely."""
    w, x, y, z = (q := rng.normal(size=4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def _settled(
    z: NDArray[np.integer],
    coord: Array,
    *,
    body: NDArray[np.integer],
    edge: float,
    radius: Array,
    rng: np.random.Generator,
) -> Frames:
    """Push bodies apart, as wholes, until no two are too near.

    Args:
        z: (atom).
        coord: (atom, 3), Å.
        body: (atom), number of the atom or molecule that it moves with.
        edge: Of the cube, Å.
        radius: (atom), Å; two atoms have to be as far apart as theirs add up to.
        rng: Shakes what is stuck.

    Raises:
        ConfigError: If they do not come apart.
    """
    box, pbc = edge * np.eye(3), np.ones(3, dtype=np.bool_)
    sizes = np.bincount(body)
    nearest = 0.0
    for _ in range(ROUNDS):
        pairs = find_neighbours(coord, box, pbc, 2 * float(radius.max()))
        first, second = pairs.edge_i, pairs.edge_j
        vector = coord[second] - coord[first] + pairs.shift @ box
        apart = np.linalg.norm(vector, axis=1)
        least = radius[first] + radius[second]
        is_own = (body[first] == body[second]) & np.logical_not(pairs.shift.any(axis=1))
        close = (apart < least) & np.logical_not(is_own)
        if not close.any():
            return uniform(z=z, coord=coord[None], box=box[None])
        nearest = float((apart[close] / least[close]).min())
        unit = vector[close] / np.maximum(apart[close], 1e-6)[:, None]
        push = np.zeros((len(sizes), 3))
        # A little more than half the overlap, so that it ends.
        short = 0.55 * (least[close] - apart[close]) + 0.01
        np.add.at(push, body[first[close]], -short[:, None] * unit)
        push = push / np.sqrt(sizes)[:, None]
        push += rng.normal(scale=0.01, size=push.shape) * (push != 0)
        coord = coord + push[body]
    raise ConfigError(
        f"liquid: {len(sizes)} atoms or molecules do not fit into a cube of "
        f"{edge:.2f} Å (the nearest are at {nearest:.2f} of the distance wanted). Give "
        "more volume, or a smaller spacing."
    )
