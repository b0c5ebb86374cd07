"""Phonon frequencies of a crystal from forces in displaced supercells."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from dpbench.units import AMU


@dataclass(frozen=True, kw_only=True, slots=True)
class Supercell:
    """Copies of a cell: atom by atom of the cell, copy behind copy."""

    coord: NDArray[np.float64]
    """(atom, 3), Å."""
    box: NDArray[np.float64]
    """(3, 3), Å."""
    basis: NDArray[np.int64]
    """(atom), which atom of the cell each is a copy of."""
    lattice: NDArray[np.int64]
    """(atom, 3), in which cell it lies."""


def build_supercell(
    coord: NDArray[np.float64], box: NDArray[np.float64], matrix: NDArray[np.int64]
) -> Supercell:
    """Repeat a cell.

    Args:
        coord: (atom, 3), Å, of the cell.
        box: (3, 3), Å, rows are cell vectors.
        matrix: (3, 3), rows are the vectors of the supercell in those of the cell.
    """
    ncells = round(abs(float(np.linalg.det(matrix))))
    inverse = np.linalg.inv(matrix)
    reach = range(-int(np.abs(matrix).sum()), int(np.abs(matrix).sum()) + 1)
    inside: list[tuple[int, int, int]] = []
    for cell in product(reach, repeat=3):
        place = np.array(cell) @ inverse
        if ((place > -1e-9) & (place < 1 - 1e-9)).all():
            inside.append((cell[0], cell[1], cell[2]))
    if len(inside) != ncells:
        raise ValueError(f"supercell holds {len(inside)} cells; expected {ncells}")
    # The home cell comes first: it is the one whose atoms are displaced.
    inside.sort(key=lambda cell: (cell != (0, 0, 0), cell))
    cells = np.array(inside, np.int64)
    shifts = cells @ box
    return Supercell(
        coord=(shifts[:, None] + coord[None]).reshape(-1, 3),
        box=matrix @ box,
        basis=np.tile(np.arange(len(coord)), ncells),
        lattice=np.repeat(cells, len(coord), axis=0),
    )


def displacements(natoms: int, step: float) -> NDArray[np.float64]:
    """Move each atom of the cell by +step and -step along x, y and z.

    Returns:
        (atom of the cell * 6, atom of the cell, 3), Å.
    """
    out = np.zeros((natoms, 3, 2, natoms, 3))
    for atom, axis in product(range(natoms), range(3)):
        out[atom, axis, 0, atom, axis] = step
        out[atom, axis, 1, atom, axis] = -step
    return out.reshape(-1, natoms, 3)


def fitting_wave_vectors(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """All wave vectors whose waves fit into a supercell, one each of q and -q.

    Args:
        matrix: (3, 3), as of ``build_supercell``.

    Returns:
        (q, 3), in vectors of the cell's reciprocal lattice; zero first.
    """
    inverse = np.linalg.inv(matrix)
    reach = range(int(np.abs(matrix).sum()) + 1)
    found: dict[tuple[float, float, float], None] = {}
    for numbers in product(reach, repeat=3):
        wave = _folded(inverse @ np.array(numbers))
        if wave not in found and _folded(-np.array(wave)) not in found:
            found[wave] = None
    return np.array(sorted(found))


def frequencies(
    force: NDArray[np.float64],
    supercell: Supercell,
    *,
    masses: NDArray[np.float64],
    step: float,
    waves: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Frequencies at wave vectors that fit into the supercell.

    D(q)_ia,jb = (m_i m_j)^-1/2 sum_R Phi(0ia, Rjb) exp(2 pi i q.R), with
    Phi(0ia, Rjb) = -(F_Rjb(+) - F_Rjb(-)) / (2 step) and the sum rule imposed.

    Args:
        force: (atom of the cell * 6, atom, 3), eV/Å, for ``displacements``.
        supercell: The cell that was displaced.
        masses: (atom of the cell), u.
        step: Length of the displacements, Å.
        waves: (q, 3), in vectors of the reciprocal lattice.

    Returns:
        (q, 3 * atom of the cell), THz, ascending; imaginary ones negative.
    """
    ncell = len(masses)
    answers = force.reshape(ncell, 3, 2, len(supercell.basis), 3)
    # (atom i, axis a, atom J, axis b), eV/Å^2
    constants = -(answers[:, :, 0] - answers[:, :, 1]) / (2 * step)
    for atom in range(ncell):
        constants[atom, :, atom, :] -= constants[atom].sum(axis=1)
    out = []
    for wave in waves:
        phase = np.exp(2j * np.pi * (supercell.lattice @ wave))
        dynamical = np.zeros((ncell, 3, ncell, 3), complex)
        for j in range(ncell):
            copies = supercell.basis == j
            dynamical[:, :, j] = np.einsum(
                "iaJb,J->iab", constants[:, :, copies], phase[copies]
            )
        dynamical /= np.sqrt(np.outer(masses, masses))[:, None, :, None]
        square = dynamical.reshape(3 * ncell, 3 * ncell)
        values = np.linalg.eigvalsh((square + square.conj().T) / 2) / AMU
        out.append(np.sign(values) * np.sqrt(np.abs(values)) / (2 * np.pi))
    return np.array(out)


def _folded(wave: NDArray[np.float64]) -> tuple[float, float, float]:
    """Bring a wave vector into [0, 1)."""
    inside = np.round(wave - np.floor(wave + 1e-9), 9) + 0.0
    return (float(inside[0]), float(inside[1]), float(inside[2]))
