"""Sanity filters: which frames of a walk are not worth a label, and why."""

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from dpbench.explore.sampling.settings import FilterSettings
from dpbench.io.quality.environments import covalent_radii
from dpbench.kernels.neighbours import find_neighbours

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """Why a frame is left out."""

    why: str
    """Name of the filter, such as ``min_distance``."""
    detail: str
    """What was found."""


@final
class Sieve:
    """Looks at frames of the same atoms, whatever their cell and places."""

    def __init__(
        self,
        settings: FilterSettings,
        *,
        z: NDArray[np.integer],
        pbc: NDArray[np.bool_],
    ) -> None:
        """Take atomic numbers (atom), and whether cells are periodic (3)."""
        self._settings, self._pbc = settings, np.asarray(pbc, np.bool_)
        self._radius = covalent_radii()[np.asarray(z)]

    def fault(
        self, coord: Array, box: Array, *, volume: float | None = None
    ) -> Fault | None:
        """Say what is wrong with a frame; None if nothing is.

        Args:
            coord: (atom, 3), Å.
            box: (3, 3), Å, rows are cell vectors; not looked at where it is open.
            volume: Of the cell that the walk started from, Å^3; None = unknown.
        """
        if not np.isfinite(coord).all() or (
            self._pbc.any() and not np.isfinite(box).all()
        ):
            return Fault(why="not_finite", detail="a place is no number")
        cell = np.where(self._pbc[:, None], np.nan_to_num(box), 0.0)
        if self._pbc.all():
            fault = self._cell_fault(cell, volume)
            if fault is not None:
                return fault
        return self._distance_fault(coord, cell)

    def _cell_fault(self, box: Array, volume: float | None) -> Fault | None:
        wanted = self._settings
        # Rows of R of QR are the cell in upright axes: edges and what leans over them.
        upper: Array = np.asarray(np.linalg.qr(box.T, mode="r"))
        lower = upper.T
        edges = np.abs(np.diagonal(lower))
        if not edges.min() > 1e-3:
            return Fault(why="flat_cell", detail="the cell vectors span no volume")
        tilt = np.abs([lower[1, 0], lower[2, 0], lower[2, 1]])
        lean = np.degrees(np.arctan2(tilt, edges[[0, 0, 1]])).max()
        if wanted.box_skew and lean > wanted.box_skew:
            return Fault(why="box_skew", detail=f"a cell vector leans by {lean:.1f}°")
        lengths = np.linalg.norm(box, axis=1)
        ratio = float(lengths.max() / lengths.min())
        if wanted.box_ratio and ratio > wanted.box_ratio:
            return Fault(
                why="box_ratio", detail=f"cell vectors differ {ratio:.2f}-fold"
            )
        if wanted.volume_ratio and volume:
            change = float(edges.prod()) / volume
            if not 1 / wanted.volume_ratio <= change <= wanted.volume_ratio:
                return Fault(
                    why="volume_ratio", detail=f"{change:.2f} of the volume at start"
                )
        return None

    def _distance_fault(self, coord: Array, box: Array) -> Fault | None:
        wanted, radius = self._settings, self._radius
        largest = 2 * float(radius.max())
        reach = max(wanted.min_distance * largest, wanted.min_distance_angstrom)
        if wanted.fragments:
            reach = max(reach, wanted.bond * largest)
        if reach == 0:
            return None
        pairs = find_neighbours(coord, box, self._pbc, reach)
        first, second = pairs.edge_i, pairs.edge_j
        vector = coord[second] - coord[first] + pairs.shift @ box
        apart = np.sqrt((vector * vector).sum(axis=1))
        ratio = apart / (radius[first] + radius[second])
        least = float(ratio.min(initial=np.inf))
        nearest = float(apart.min(initial=np.inf))
        if wanted.min_distance and least < wanted.min_distance:
            return Fault(
                why="min_distance",
                detail=f"two atoms at {least:.2f} of their covalent radii's sum",
            )
        if wanted.min_distance_angstrom and nearest < wanted.min_distance_angstrom:
            return Fault(why="min_distance", detail=f"two atoms {nearest:.2f} Å apart")
        if not wanted.fragments:
            return None
        is_bond = ratio <= wanted.bond
        parts = count_parts(len(coord), first[is_bond], second[is_bond])
        if parts > wanted.fragments:
            return Fault(why="fragments", detail=f"in {parts} parts")
        return None


def count_parts(
    natoms: int, first: NDArray[np.integer], second: NDArray[np.integer]
) -> int:
    """Count the parts of a graph that no bond joins.

    Args:
        natoms: Vertices.
        first: (bond), one end of each; every bond is there in both directions.
        second: (bond), the other end.
    """
    part = np.arange(natoms)
    while True:
        lowest = part.copy()
        np.minimum.at(lowest, first, part[second])
        # Whoever got a lower number takes that number's own, so chains halve.
        lowest = lowest[lowest]
        if np.array_equal(lowest, part):
            return len(np.unique(part))
        part = lowest
