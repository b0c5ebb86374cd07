"""The lattice behind a neighbour search: completed cells, heights, wrapped atoms."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import DpbenchError


class CellError(DpbenchError, ValueError):
    """A cell or positions in which no neighbours can be searched."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbours:
    """Directed edges of one frame, grouped by centre.

    Edge e is the vector d = coord[edge_j] + shift @ box - coord[edge_i] with
    |d| < rcut; coord are the atoms as given, wrapped or not.
    """

    edge_i: NDArray[np.int32]
    """(edge), centre; ascending."""
    edge_j: NDArray[np.int32]
    """(edge), neighbour; equals the centre where an atom sees its own image."""
    shift: NDArray[np.int32]
    """(edge, 3), whole cell vectors to add to the neighbour."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lattice:
    """A cell whose open directions are completed, and the atoms wrapped into it."""

    box: NDArray[np.float64]
    """(3, 3), Å, rows are cell vectors; open directions are unit vectors normal to
    the periodic ones."""
    periodic: NDArray[np.bool_]
    """(3), periodic along each cell vector."""
    height: NDArray[np.float64]
    """(3), Å, distance between opposite faces; infinite along open directions."""
    frac: NDArray[np.float64]
    """(atom, 3), fractional coordinates, in [0, 1] along periodic directions."""
    coord: NDArray[np.float64]
    """(atom, 3), Å, the wrapped atoms."""
    wrap: NDArray[np.int32]
    """(atom, 3), cell vectors that wrapping took away from each atom."""

    def images(self, rcut: float) -> NDArray[np.int32]:
        """Return how many images to either side can lie within ``rcut`` (Å), (3)."""
        return np.ceil(rcut / self.height).astype(np.int32)


def make_lattice(
    coord: NDArray[np.floating],
    box: NDArray[np.floating],
    pbc: NDArray[np.bool_],
) -> Lattice:
    """Complete the cell and wrap the atoms.

    Args:
        coord: Å, (atom, 3).
        box: Å, (3, 3), rows are cell vectors; rows of open directions do not matter.
        pbc: (3), periodic along each cell vector.

    Raises:
        CellError: If a coordinate is not finite, or the periodic cell vectors are
            not linearly independent.
    """
    coord = np.asarray(coord, dtype=np.float64)
    periodic = np.asarray(pbc, dtype=np.bool_)
    if not np.isfinite(coord).all():
        raise CellError("coord holds NaN or infinity; expected finite positions in Å")
    full = complete_box(np.asarray(box, dtype=np.float64), periodic)
    inverse = np.linalg.inv(full)
    height = np.where(periodic, 1 / np.linalg.norm(inverse, axis=0), np.inf)
    frac = coord @ inverse
    wrap = np.where(periodic, np.floor(frac), 0.0)
    return Lattice(
        box=full,
        periodic=periodic,
        height=height,
        frac=frac - wrap,
        coord=coord - wrap @ full,
        wrap=wrap.astype(np.int32),
    )


def complete_box(
    box: NDArray[np.float64], periodic: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Replace the rows of open directions by unit vectors normal to all others.

    Raises:
        CellError: If the periodic rows are not finite or not linearly independent.
    """
    kept = box[periodic]
    if not np.isfinite(kept).all():
        raise CellError("box holds NaN or infinity along a periodic direction")
    full = np.zeros((3, 3))
    full[periodic] = kept
    # The last rows of V^T span the space normal to the periodic cell vectors.
    _, singular, basis = np.linalg.svd(kept.reshape(-1, 3))
    if len(kept) and singular[-1] <= 1e-10 * singular[0]:
        raise CellError(
            f"box has linearly dependent periodic cell vectors: {kept.tolist()} Å; "
            "expected vectors that span a cell"
        )
    full[np.logical_not(periodic)] = basis[len(kept) :]
    return full
