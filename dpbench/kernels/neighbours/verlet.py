"""The neighbour list of molecular dynamics: compact, with a skin, replicas batched.

An entry is an int32 neighbour and a small image code, 6 bytes; there are no ghost
atoms. The list keeps atoms in an order of its own, by type, then replica, then bin, so
that neighbours of one type follow each other and lie close in memory.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import ModelError
from dpbench.kernels.neighbours.cell import Lattice, make_lattice

PARALLEL_ATOMS = 2048
"""Atoms from which a search is spread over threads."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VerletList:
    """All pairs within a radius, as of one moment.

    Slot a is the atom ``order[a]``. Its neighbours are the entries
    ``start[a] : start[a + 1]``: slot ``neighbour[e]``, moved by the whole cell vectors
    ``images[image[e]]``, where all atoms are taken as wrapped, coord - wrap @ box.
    Entries of one atom are grouped by type, as slots are.
    """

    order: NDArray[np.int64]
    """(slot), atom of each slot; slots come by type, replica, bin."""
    wrap: NDArray[np.int32]
    """(slot, 3), cell vectors that wrapping took away from each atom."""
    type_offset: NDArray[np.int64]
    """(type + 1), first slot of each type."""
    start: NDArray[np.int64]
    """(slot + 1), first entry of each slot."""
    neighbour: NDArray[np.int32]
    """(entry), slot of the neighbour."""
    image: NDArray[np.integer]
    """(entry), row of ``images``; int16 unless there are very many."""
    images: NDArray[np.int32]
    """(image, 3), whole cell vectors."""
    box: NDArray[np.float64]
    """(replica, 3, 3), Å, the completed cells, see ``Lattice.box``."""
    coord: NDArray[np.float64]
    """(atom, 3), Å, the atoms as they were given."""
    radius: float
    """Pairs closer than this are listed, Å."""

    def serves(
        self,
        coord: NDArray[np.float64],
        rcut: float,
        box: NDArray[np.float64] | None = None,
    ) -> bool:
        """Say whether every pair now within ``rcut`` is in the list.

        A pair that is d now was at most |A^-1| (d + 2 u) apart then, where A turns the
        old cell into the new one and u is the largest move beyond that. NaN never
        serves.

        Args:
            coord: Å, (atom, 3), the atoms now, not wrapped since.
            rcut: Cutoff radius, Å.
            box: Å, (replica, 3, 3), completed cells now; None if they are the old.
        """
        from dpbench.kernels.neighbours.verlet_cpu import largest_move

        nreplicas = len(self.box)
        affine = np.zeros((nreplicas, 3, 3)) + np.eye(3)
        stretch = 1.0
        if box is not None and not np.array_equal(box, self.box):
            affine[:] = np.linalg.solve(self.box, box)
            inverse = np.linalg.solve(box, self.box)
            stretch = float(np.linalg.norm(inverse, ord=2, axis=(1, 2)).max())
        natoms = max(len(coord) // nreplicas, 1)
        moved2 = largest_move(coord, self.coord, affine, natoms)
        farthest = stretch * (rcut + 2 * float(np.sqrt(moved2)))
        return bool(farthest <= self.radius)


def build_list(
    coord: NDArray[np.float64],
    box: NDArray[np.float64],
    pbc: NDArray[np.bool_],
    atype: NDArray[np.integer],
    *,
    radius: float,
    ntypes: int,
    is_parallel: bool = False,
) -> VerletList:
    """List all pairs within ``radius``; O(atoms) time and memory.

    Args:
        coord: Å, (replica * atom, 3); atoms may lie outside the cell.
        box: Å, (replica, 3, 3); rows of open directions do not matter.
        pbc: (3), periodic along each cell vector.
        atype: (atom), types of one replica; all have the same atoms.
        radius: Cutoff plus skin, Å; may exceed the cell.
        ntypes: Number of types of the model.
        is_parallel: Spread large systems over numba's threads; main thread only.

    Raises:
        ModelError: If a position is not finite; names the atom.
        ValueError: If the periodic cell vectors are linearly dependent.
    """
    if not radius > 0:
        raise ValueError(f"need radius > 0, got {radius} Å")
    natoms, nreplicas = len(atype), len(box)
    check_finite(coord, natoms)
    parts = zip(coord.reshape(nreplicas, natoms, 3), box, strict=True)
    lattices = [make_lattice(*part, pbc) for part in parts]
    grids = [_grid(lattice, radius) for lattice in lattices]
    most = np.max([grid.images for grid in grids], axis=0, initial=0)
    types = np.ascontiguousarray(atype, dtype=np.int64)
    counts = np.bincount(types, minlength=ntypes)
    starts = np.cumsum(counts) - counts
    type_offset = np.append(starts, natoms) * nreplicas
    slots = np.empty((nreplicas, natoms), dtype=np.int64)
    order, searches = np.empty(natoms * nreplicas, dtype=np.int64), []
    for r in range(nreplicas):
        # Slots of this replica inside the order of all: by type, then replica.
        ahead = type_offset[:-1] + r * counts
        search, local = _prepare(lattices[r], grids[r], types, (radius, most, ahead))
        slots[r] = np.arange(natoms) + (ahead - starts)[types[local]]
        order[slots[r]] = local + r * natoms
        searches.append(search)
    is_spread = is_parallel and natoms >= PARALLEL_ATOMS
    found = _search(searches, slots, is_spread=is_spread)
    return VerletList(
        order=order,
        wrap=np.concatenate([lattice.wrap for lattice in lattices])[order],
        type_offset=type_offset,
        start=found[0],
        neighbour=found[1],
        image=found[2],
        images=_images(most),
        box=np.stack([lattice.box for lattice in lattices]),
        coord=np.array(coord, dtype=np.float64),
        radius=radius,
    )


def _images(most: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return all images up to ``most`` to either side, in the order of their codes."""
    ranges = [np.arange(-n, n + 1, dtype=np.int32) for n in most]
    return np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)


def check_finite(coord: NDArray[np.float64], natoms: int) -> None:
    """Refuse positions that are no numbers.

    Args:
        coord: Å, (replica * atom, 3).
        natoms: Atoms of one replica.

    Raises:
        ModelError: Names the first such atom.
    """
    # The sum is finite unless a number is not (or all are absurdly large).
    if np.isfinite(coord.sum()):
        return
    bad = np.flatnonzero(np.logical_not(np.isfinite(coord).all(axis=1)))
    if not len(bad):
        return
    replica, atom = divmod(int(bad[0]), natoms)
    where = f"atom {atom}" if len(coord) == natoms else f"atom {atom}, system {replica}"
    raise ModelError(
        f"coord: {where} is at {coord[bad[0]].tolist()}, and {len(bad)} atoms in all "
        "are not at finite positions; expected numbers in Å. Look for a too long time "
        "step, or for atoms that start too close."
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Grid:
    """Bins of one replica."""

    low: NDArray[np.float64]
    span: NDArray[np.float64]
    nbins: NDArray[np.int64]
    reach: NDArray[np.int64]
    images: NDArray[np.int64]
    """(3), how many images to either side the search may meet."""


def _grid(lattice: Lattice, radius: float) -> _Grid:
    """Choose bins about half as wide as the radius, not many more than atoms."""
    natoms = len(lattice.coord)
    low = np.zeros(3)
    high = np.ones(3)
    if natoms:
        low = np.where(lattice.periodic, 0.0, lattice.frac.min(axis=0))
        high = np.where(lattice.periodic, 1.0, lattice.frac.max(axis=0))
    # Atoms in one plane have no extent; any positive one puts them into one bin.
    extent = np.where(lattice.periodic, lattice.height, np.maximum(high - low, 1e-9))
    nbins = np.maximum(np.floor(np.minimum(2 * extent / radius, 1e9)), 1)
    most = max(2 * natoms, 8)
    while nbins.prod() > most:
        widest = int(np.argmax(nbins))
        others = nbins.prod() / nbins[widest]
        nbins[widest] = max(min(nbins[widest] // 2, most // others), 1)
    reach = np.ceil(np.minimum(radius * nbins / extent, 1e9))
    reach = np.where(lattice.periodic, reach, np.minimum(reach, nbins - 1))
    images = np.where(lattice.periodic, np.ceil(reach / nbins), 0)
    return _Grid(
        low=low,
        span=np.where(lattice.periodic, 1.0, extent),
        nbins=nbins.astype(np.int64),
        reach=reach.astype(np.int64),
        images=images.astype(np.int64),
    )


def _prepare(
    lattice: Lattice,
    grid: _Grid,
    types: NDArray[np.int64],
    rest: tuple[float, NDArray[np.int64], NDArray[np.int64]],
) -> tuple[tuple[Any, ...], NDArray[np.int64]]:
    """Sort one replica's atoms; return the arrays of its search and their order."""
    # numba takes half a second to import: pay only when a list is built.
    from dpbench.kernels.neighbours.verlet_cpu import sort_atoms

    radius, most, renumber = rest
    nbins = grid.nbins
    scaled = (lattice.frac - grid.low) / grid.span * nbins
    bin3 = np.clip(scaled.astype(np.int64), 0, nbins - 1)
    flat = (bin3[:, 0] * nbins[1] + bin3[:, 1]) * nbins[2] + bin3[:, 2]
    first = np.zeros((len(renumber), int(nbins.prod()) + 1), dtype=np.int64)
    local = np.empty(len(types), dtype=np.int64)
    sort_atoms(flat, types, first, local)
    search = (
        np.ascontiguousarray(lattice.coord[local].T),
        lattice.box,
        bin3[local],
        first,
        nbins,
        grid.reach,
        lattice.periodic,
        radius**2,
        renumber,
        most,
    )
    return search, local


def _search(
    searches: list[tuple[Any, ...]],
    slots: NDArray[np.int64],
    *,
    is_spread: bool,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.signedinteger[Any]]]:
    """Count, then write the neighbours of all replicas."""
    from dpbench.kernels.neighbours import verlet_cpu

    nimages = np.prod(2 * searches[0][-1] + 1) if searches else 1
    code_type = np.int16 if nimages <= 2**15 else np.int32
    start = np.zeros(slots.size + 1, dtype=np.int64)
    room = [_runs_at_most(search) for search in searches]
    for search, rows, runs in zip(searches, slots, room, strict=True):
        counts = np.empty(len(rows), dtype=np.int64)
        if is_spread:
            verlet_cpu.count_all(search, counts, runs)
        else:
            verlet_cpu.count_range(search, (0, len(rows)), counts, runs)
        start[rows + 1] = counts
    np.cumsum(start, out=start)
    out = np.empty(start[-1], np.int32), np.empty(start[-1], code_type)
    for search, rows, runs in zip(searches, slots, room, strict=True):
        places = start[rows], start[rows + 1] - start[rows]
        if is_spread:
            verlet_cpu.fill_all(search, places, out, runs)
        else:
            verlet_cpu.fill_range(search, (0, len(rows)), places, out, runs)
    return start, *out


def _runs_at_most(search: tuple[Any, ...]) -> NDArray[np.int64]:
    """Return room for all slices of bins around a bin."""
    nbins, reach = search[4], search[5]
    across = (2 * reach[0] + 1) * (2 * reach[1] + 1)
    along = 2 * (reach[2] // nbins[2] + 1) + 1
    return np.empty((int(across * along), 5), dtype=np.int64)
