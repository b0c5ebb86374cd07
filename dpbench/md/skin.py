"""A neighbour list with a skin, so that moving atoms rarely need a new search."""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray

from dpbench.kernels.batch import Batch
from dpbench.kernels.neighbours import find_neighbours
from dpbench.models.batching import sort_edges
from dpbench.models.geometry import atom_types


@dataclass(frozen=True, kw_only=True, slots=True)
class Geometry:
    """The atoms of one structure."""

    z: NDArray[np.integer]
    """(atom), atomic numbers."""
    coord: NDArray[np.float64]
    """(atom, 3), Å; not wrapped between calls."""
    box: NDArray[np.float64]
    """(3, 3), Å, rows are cell vectors."""
    pbc: NDArray[np.bool_]
    """(3), periodic along each cell vector."""
    aparam: NDArray[np.float64] | None = None
    """(atom, number), what a model with ``numb_aparam`` takes of each atom."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Built:
    """The list as of its last search; edges reach to the cutoff plus the skin."""

    geometry: Geometry
    atype: NDArray[np.int64]
    index: dict[str, NDArray[np.int64]]
    atom_type_offset: tuple[int, ...]
    most: tuple[int, ...]
    offset: NDArray[np.float64]
    """(edge, 3), Å, shift @ box of each edge."""
    blank: dict[str, torch.Tensor]
    """Fields of the batch that never change."""


@final
class SkinList:
    """Batches of a moving structure; searches again only when the skin is used up.

    Invariant: no atom has moved more than half the skin since the last search, and
    cell, periodicity and atoms are those of the search; so every pair within the
    cutoff is in the list.
    """

    def __init__(self, type_map: tuple[str, ...], rcut: float, skin: float) -> None:
        """Start without a list.

        Args:
            type_map: The model's elements.
            rcut: Cutoff radius of the model, Å.
            skin: Extra radius of the list, Å; zero searches at every call.
        """
        self.type_map = type_map
        self.rcut = rcut
        self.skin = skin
        self.searches = 0
        self._built: _Built | None = None

    def batch(self, geometry: Geometry, dtype: torch.dtype) -> Batch:
        """Return the structure as a batch of one frame without labels, on the CPU.

        Args:
            geometry: The atoms as they are now.
            dtype: Precision of the edge vectors, that of the model.

        Raises:
            ModelError: If the model does not know an element.
        """
        built = self._built
        if built is None or not self._holds(built.geometry, geometry):
            built = self._built = self._search(geometry)
        return _cut(built, geometry.coord, self.rcut, dtype)

    def _holds(self, then: Geometry, now: Geometry) -> bool:
        """Say whether the list made for ``then`` serves ``now``."""
        if not (
            np.array_equal(then.z, now.z)
            and np.array_equal(then.pbc, now.pbc)
            and np.array_equal(then.box, now.box)
        ):
            return False
        moved = now.coord - then.coord
        farthest = float((moved * moved).sum(axis=1).max(initial=0.0))
        return farthest < (self.skin / 2) ** 2

    def _search(self, geometry: Geometry) -> _Built:
        self.searches += 1
        atype = atom_types(geometry.z, self.type_map)
        found = find_neighbours(
            geometry.coord, geometry.box, geometry.pbc, self.rcut + self.skin
        )
        arrays = sort_edges(
            atype, found.edge_i, found.edge_j, ntypes=len(self.type_map)
        )
        shift = found.shift[arrays.pop("edge_order")]
        natoms = len(atype)
        unlabelled = torch.zeros(1, dtype=torch.bool)
        return _Built(
            geometry=Geometry(
                z=geometry.z.copy(),
                coord=geometry.coord.copy(),
                box=geometry.box.copy(),
                pbc=geometry.pbc.copy(),
            ),
            atype=atype,
            atom_type_offset=arrays.pop("atom_type_offset"),
            most=arrays.pop("most_neighbours"),
            index={k: v for k, v in arrays.items() if k != "pair_offset"},
            offset=shift @ np.nan_to_num(geometry.box),
            blank={
                "frame_offset": torch.tensor([0, natoms]),
                "frame_idx": torch.zeros(natoms, dtype=torch.int64),
                "atype": torch.from_numpy(atype),
                "energy": torch.zeros(1, dtype=torch.float64),
                "force": torch.zeros(natoms, 3, dtype=torch.float64),
                "virial": torch.zeros(1, 3, 3, dtype=torch.float64),
                "has_energy": unlabelled,
                "has_force": unlabelled,
                "has_virial": unlabelled,
            },
        )


def _cut(
    built: _Built, coord: NDArray[np.float64], rcut: float, dtype: torch.dtype
) -> Batch:
    """Keep the edges that are within the cutoff now; their order stays sorted."""
    index = built.index
    vector = coord[index["edge_j"]]
    vector -= coord[index["edge_i"]]
    vector += built.offset
    near = np.einsum("ek,ek->e", vector, vector) < rcut**2
    kept = np.flatnonzero(near)
    before = np.zeros(len(near) + 1, dtype=np.int64)
    np.cumsum(near, out=before[1:])
    row_offset = before[index["row_offset"]]
    pair_offset = row_offset[:, list(built.atom_type_offset)]
    return Batch(
        atom_order=torch.from_numpy(index["atom_order"]),
        atom_type_offset=built.atom_type_offset,
        edge_i=torch.from_numpy(index["edge_i"][kept]),
        edge_j=torch.from_numpy(index["edge_j"][kept]),
        edge_row=torch.from_numpy(index["edge_row"][kept]),
        edge_vec=torch.from_numpy(vector[kept]).to(dtype),
        row_offset=torch.from_numpy(row_offset),
        pair_offset=tuple(map(tuple, pair_offset.tolist())),
        most_neighbours=built.most,
        **built.blank,
    )
