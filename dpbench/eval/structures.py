"""Start structures of the dynamic tasks: supercells, and frames as ASE atoms."""

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from dpbench.frames import Frames, uniform
from dpbench.units import BOLTZMANN


def replicas_to_reach(frame: Frames, natoms: int) -> tuple[int, int, int]:
    """Replicas along the cell vectors that make at least ``natoms`` atoms.

    The direction whose periodic images are nearest grows first, so cells stay compact.

    Args:
        frame: One frame.
        natoms: Atoms wanted.

    Returns:
        (1, 1, 1) where the frame is large enough or not periodic in all directions.
    """
    if not frame.pbc.all():
        return (1, 1, 1)
    box = frame.box[0]
    # Distance between opposite faces: volume over the area of the face.
    widths = 1.0 / np.linalg.norm(np.linalg.inv(box), axis=0)
    replicas = np.ones(3, np.int64)
    while len(frame.z) * int(replicas.prod()) < natoms:
        replicas[int(np.argmin(np.round(widths * replicas, 6)))] += 1
    return (int(replicas[0]), int(replicas[1]), int(replicas[2]))


def supercell(frame: Frames, replicas: tuple[int, int, int]) -> Frames:
    """Repeat one frame along its cell vectors; labels are left out, aparam is not.

    Args:
        frame: One frame; with a cell unless ``replicas`` is (1, 1, 1).
        replicas: Copies along each cell vector.

    Returns:
        One frame of natoms * prod(replicas) atoms, copy behind copy.
    """
    if replicas == (1, 1, 1):
        return _moved(frame, frame.coord)
    shifts = np.array(list(np.ndindex(*replicas)), np.float64) @ frame.box[0]
    coord = (shifts[:, None, :] + frame.coord[None, :, :]).reshape(1, -1, 3)
    numbers = frame.aparam
    return uniform(
        z=np.tile(frame.z, len(shifts)),
        coord=coord,
        box=frame.box * np.array(replicas)[None, :, None],
        aparam=None if numbers is None else np.tile(numbers, (len(shifts), 1)),
    )


def displaced(frame: Frames, *, amplitude: float, seed: int) -> Frames:
    """Move every atom of one frame at random.

    Args:
        frame: One frame.
        amplitude: Standard deviation of each component, Å.
        seed: Seed of the displacements.
    """
    rng = np.random.default_rng(seed)
    noise: NDArray[np.float64] = rng.normal(scale=amplitude, size=frame.coord.shape)
    return _moved(frame, frame.coord + noise)


def _moved(frame: Frames, coord: NDArray[np.floating]) -> Frames:
    """Return the structure of one frame with its atoms at ``coord``, Å (atom, 3)."""
    box = frame.box if frame.pbc.all() else None
    return uniform(z=frame.z, coord=coord[None], box=box, aparam=frame.aparam)


def to_atoms(frame: Frames) -> Atoms:
    """Turn one frame into ASE's form, with its aparam as the array of that name."""
    periodic = bool(frame.pbc.all())
    atoms = Atoms(
        numbers=frame.z.astype(int),
        positions=frame.coord.astype(np.float64),
        cell=frame.box[0] if periodic else None,
        pbc=periodic,
    )
    numbers = frame.aparam_of(0)
    if numbers is not None:
        atoms.set_array("aparam", numbers)
    return atoms


def from_atoms(atoms: Atoms) -> Frames:
    """Turn ASE's atoms into one frame without labels."""
    return uniform(
        z=atoms.numbers,
        coord=atoms.positions[None],
        box=np.asarray(atoms.cell)[None] if atoms.pbc.all() else None,
        aparam=atoms.arrays.get("aparam"),
    )


def set_temperature(atoms: Atoms, temperature: float, *, seed: int) -> None:
    """Give atoms Maxwell-Boltzmann velocities of exactly this temperature, at rest.

    Args:
        atoms: At least two atoms; their momenta are replaced.
        temperature: K, by 3/2 k_B T per atom.
        seed: Of the velocities.
    """
    rng = np.random.default_rng(seed)
    mass = atoms.get_masses()[:, None]
    momenta = np.sqrt(mass * BOLTZMANN * temperature) * rng.standard_normal(
        (len(atoms), 3)
    )
    momenta -= mass * momenta.sum(axis=0) / mass.sum()
    kinetic = float((momenta**2 / mass).sum()) / 2
    wanted = 1.5 * len(atoms) * BOLTZMANN * temperature
    atoms.set_momenta(momenta * np.sqrt(wanted / kinetic) if kinetic > 0 else momenta)


def default_timestep(frame: Frames) -> float:
    """Time step for molecular dynamics, fs: 0.5 with hydrogen, else 1."""
    return 0.5 if bool((frame.z == 1).any()) else 1.0
