"""Cells that the references of crystals are made of."""

from dataclasses import dataclass

import numpy as np
from crystal_pw import Mesh

from dpbench.elements import atomic_numbers
from dpbench.eval.structures import displaced
from dpbench.frames import Frames, uniform
from dpbench.metrics.phonons import build_supercell

FCC = ((0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0))
SI_MESH = Mesh(divisions=(2, 2, 2), shift=(1, 1, 1))
FCC_MESH = Mesh(divisions=(4, 4, 4), shift=(1, 1, 1))
HCP_MESH = Mesh(divisions=(5, 3, 3), shift=(0, 0, 0))


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One cell and the k-points that the training set gives it."""

    frame: Frames
    """At a volume near the minimum."""
    mesh: Mesh
    primitive: tuple[int, ...] = (0,)
    """Atoms that make the primitive cell of the fcc lattice."""
    is_bravais: bool = True
    """Whether a strain leaves every atom at its site, by symmetry."""


def _cube(
    symbols: tuple[str, ...], a: float, places: tuple[tuple[float, ...], ...]
) -> Frames:
    return uniform(
        z=atomic_numbers(symbols, where="cell"),
        coord=a * np.array(places, float)[None],
        box=a * np.eye(3)[None],
    )


def _diamond(symbol: str, a: float) -> Frames:
    places = [*FCC, *(tuple(np.array(place) + 0.25) for place in FCC)]
    return _cube((symbol,) * 8, a, tuple(places))


def _hcp(symbol: str, a: float, c: float) -> Frames:
    box = np.diag([a, a * np.sqrt(3), c])
    places = [(0, 0, 0), (0.5, 0.5, 0), (0.5, 1 / 6, 0.5), (0, 2 / 3, 0.5)]
    return uniform(
        z=atomic_numbers((symbol,) * 4, where="cell"),
        coord=(np.array(places) @ box)[None],
        box=box[None],
    )


CELLS = {
    "Si-diamond": Cell(
        frame=_diamond("Si", 5.40), mesh=SI_MESH, primitive=(0, 4), is_bravais=False
    ),
    "Al-fcc": Cell(frame=_cube(("Al",) * 4, 3.98, FCC), mesh=FCC_MESH),
    "Mg-fcc": Cell(frame=_cube(("Mg",) * 4, 4.45, FCC), mesh=FCC_MESH),
    "Mg-hcp": Cell(frame=_hcp("Mg", 3.15, 5.11), mesh=HCP_MESH, is_bravais=False),
    "Al3Mg-L12": Cell(frame=_cube(("Mg", "Al", "Al", "Al"), 4.09, FCC), mesh=FCC_MESH),
    "AlMg-L10": Cell(frame=_cube(("Al", "Al", "Mg", "Mg"), 4.21, FCC), mesh=FCC_MESH),
    "AlMg3-L12": Cell(frame=_cube(("Al", "Mg", "Mg", "Mg"), 4.33, FCC), mesh=FCC_MESH),
}
"""Atoms of L12 lie at centres of inversion: no strain moves them."""


def repeated(frame: Frames, matrix: tuple[tuple[int, ...], ...]) -> Frames:
    """Repeat one frame: rows of ``matrix`` are the new cell in vectors of the old."""
    big = build_supercell(
        np.asarray(frame.coord, float), frame.box[0], np.array(matrix, np.int64)
    )
    return uniform(z=frame.z[big.basis], coord=big.coord[None], box=big.box[None])


def remove_atom(frame: Frames) -> Frames:
    """Take the first atom away."""
    return uniform(z=frame.z[1:], coord=frame.coord[1:][None], box=frame.box)


def rattled(frame: Frames, amplitude: float, *, seed: int) -> Frames:
    """Move every atom at random by a normal deviate of this width (Å)."""
    return displaced(frame, amplitude=amplitude, seed=seed)
