"""Variations of a cell: substitution, strain, vacancies, random displacements."""

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import atomic_numbers
from dpbench.errors import ConfigError
from dpbench.eval.crystals.prototypes import strained
from dpbench.eval.structures import supercell
from dpbench.explore.sampling.structure_settings import Substitute
from dpbench.frames import Frames, uniform


def repeated(frame: Frames, repeat: tuple[int, int, int], *, where: str) -> Frames:
    """Repeat one frame along its cell vectors.

    Raises:
        ConfigError: If it is not periodic.
    """
    if repeat == (1, 1, 1):
        return frame
    if not frame.pbc.all():
        raise ConfigError(
            f"{where}: is not periodic, but repeat = {list(repeat)}; expected a cell. "
            "Leave repeat out."
        )
    return supercell(frame, repeat)


def whole_counts(fractions: tuple[float, ...], sites: int) -> NDArray[np.int64]:
    """Turn fractions into whole numbers of sites, as near as can be.

    Largest remainders are rounded up, so that the counts add up to ``sites``.

    Args:
        fractions: (element), whose sum is 1.
        sites: How many there are.
    """
    exact = np.array(fractions) * sites
    # What rounding has left of a whole number is one.
    exact = np.where(np.abs(exact - np.round(exact)) < 1e-6, np.round(exact), exact)
    counts: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    order = np.argsort(counts - exact, kind="stable")
    counts[order[: sites - int(counts.sum())]] += 1
    return counts


def substituted(
    frame: Frames, wanted: Substitute, number: int, *, rng: np.random.Generator
) -> Frames:
    """Put elements on the sites of one frame at random.

    Args:
        frame: One frame.
        wanted: Elements, compositions and sites.
        number: Of the composition.
        rng: Draws which sites.

    Returns:
        The frame, its atoms in the order of atomic numbers.

    Raises:
        ConfigError: If there are no such sites.
    """
    z = frame.z.copy()
    sites = np.arange(len(z))
    if wanted.of:
        of = atomic_numbers((wanted.of,), where="substitute.of")[0]
        sites = np.flatnonzero(z == of)
        if not len(sites):
            present = ", ".join(frame.symbols)
            raise ConfigError(
                f"substitute.of = '{wanted.of}': the cell has no such site, only "
                f"{present}. Name one of these."
            )
    numbers = np.array(atomic_numbers(wanted.elements, where="substitute.elements"))
    counts = whole_counts(wanted.composition(number), len(sites))
    z[rng.permutation(sites)] = np.repeat(numbers, counts)
    return by_element(with_atoms(frame, z=z, coord=frame.coord))


def by_element(frame: Frames) -> Frames:
    """Sort the atoms of one frame by atomic number; equal ones keep their order."""
    order = np.argsort(frame.z, kind="stable")
    return with_atoms(frame, z=frame.z[order], coord=frame.coord[order])


def to_volume(frame: Frames, volume: float) -> Frames:
    """Scale a periodic frame to a volume per atom, Å^3."""
    now = abs(float(np.linalg.det(frame.box[0]))) / len(frame.z)
    return stretched(frame, (volume / now) ** (1 / 3))


def stretched(frame: Frames, factor: float) -> Frames:
    """Scale all lengths of one frame."""
    if factor == 1:
        return frame
    if not frame.pbc.all():
        return with_atoms(frame, z=frame.z, coord=frame.coord * factor)
    return strained(frame, ((factor - 1) * np.eye(3))[None])


def randomly_strained(
    frame: Frames, width: float, *, rng: np.random.Generator
) -> Frames:
    """Strain a periodic frame by a random symmetric strain.

    Args:
        frame: One frame; an open one stays as it is.
        width: Of each normal component; a shear xy is that of the tensor.
        rng: Draws it.
    """
    if width == 0 or not frame.pbc.all():
        return frame
    drawn = rng.normal(scale=width, size=(3, 3))
    symmetric = np.tril(drawn) + np.tril(drawn, -1).T
    return strained(frame, symmetric[None])


def with_vacancies(frame: Frames, count: int, *, rng: np.random.Generator) -> Frames:
    """Take atoms away at random.

    Raises:
        ConfigError: If none would be left.
    """
    if count == 0:
        return frame
    if count >= len(frame.z):
        raise ConfigError(
            f"vacancies = {count}: the cell has {len(frame.z)} atoms; expected fewer "
            "than that. Use repeat."
        )
    kept = np.sort(rng.permutation(len(frame.z))[count:])
    return with_atoms(frame, z=frame.z[kept], coord=frame.coord[kept])


def rattled(frame: Frames, width: float, *, rng: np.random.Generator) -> Frames:
    """Move every atom at random.

    Args:
        frame: One frame.
        width: Of each normal component, Å.
        rng: Draws the moves.
    """
    if width == 0:
        return frame
    noise = rng.normal(scale=width, size=frame.coord.shape)
    return with_atoms(frame, z=frame.z, coord=frame.coord + noise)


def with_atoms(
    frame: Frames, *, z: NDArray[np.integer], coord: NDArray[np.floating]
) -> Frames:
    """Return one frame of other atoms in the same cell, without labels."""
    box = frame.box if frame.pbc.all() else None
    return uniform(z=z, coord=np.asarray(coord, np.float64)[None], box=box)
