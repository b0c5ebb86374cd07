"""The neighbour list of moving atoms on the device.

Bins as wide as the list's radius, a counting sort, one pass that counts and one that
fills: any cell, however small or skewed, and any periodicity, for several replicas at
once. Making a list looks at the device twice (for the range along open directions, and
for the number of edges); using one never does.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpbench.errors import ModelError
from dpbench.kernels.gpu import launch
from dpbench.kernels.neighbours.cell import complete_box
from dpbench.shapes import Float64, Int32, Int64

MOST_IMAGES = 500
"""Cells between wrapped neighbours: an image is packed into ten bits a number."""

ROOM = 1.1
"""Room of a list, as a multiple of its edges."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceList:
    """Neighbours of all atoms of all replicas, atoms sorted by type and place."""

    atom_of: Int64[Tensor, " row"]
    """Atom of each row; rows are sorted by type, then by bin."""
    row_of: Int64[Tensor, " atom"]
    """Row of each atom."""
    row_type: Int64[Tensor, " row"]
    """Type of each row's atom."""
    type_offset: tuple[int, ...]
    """First row of each type."""
    row_offset: Int64[Tensor, "type row_plus_one"]
    """Edges from a row to neighbours of a type, as in ``Batch``."""
    neighbour: Int32[Tensor, " edge"]
    """Atom at the other end."""
    image: Int32[Tensor, " edge"]
    """Cell vectors to add to it once it is wrapped, ten bits each, 512 for none."""
    wrap: Float64[Tensor, "atom 3"]
    """Cell vectors that wrapping takes away from each atom, however far it is."""
    incoming: Int32[Tensor, " edge"]
    """Edges by the atom they point to."""
    incoming_offset: Int64[Tensor, " atom_plus_one"]
    """Where those of each atom start."""


def build_list(
    coord: Float64[Tensor, "atom 3"],
    cells: Float64[Tensor, "replica 3 3"],
    pbc: NDArray[np.bool_],
    atype: Int64[Tensor, " atom"],
    *,
    radius: float,
    ntypes: int,
) -> DeviceList:
    """Find all pairs closer than ``radius``.

    Args:
        coord: Å, atoms of all replicas, one replica after the other.
        cells: Å, completed cells: ``complete_cells``.
        pbc: Periodic along each cell vector.
        atype: Types of all atoms.
        radius: Cutoff and skin, Å.
        ntypes: Number of types.

    Raises:
        ModelError: If the radius reaches further than ``MOST_IMAGES`` cells.
    """
    bins = _Bins.of(coord, cells, pbc, radius)
    order = torch.argsort(bins.flat, stable=True)
    edges = torch.arange(bins.total * len(cells) + 1, device=coord.device)
    first = torch.searchsorted(bins.flat[order], edges)
    # Types first, then bins: programs that run together read the same neighbours.
    atom_of = order[torch.argsort(atype[order], stable=True)]
    natoms = len(atype)
    row_of = torch.empty_like(atom_of)
    row_of[atom_of] = torch.arange(natoms, device=coord.device)
    row_type = atype[atom_of]
    types = torch.arange(ntypes + 1, device=coord.device)
    walk = _Walk(bins, first, order, row_of, atype, cells, ntypes, radius)
    row_offset = walk.count()
    types = torch.arange(ntypes + 1, device=coord.device)
    ends = torch.searchsorted(row_type, types)
    *type_offset, nedges = torch.cat([ends, row_offset[-1, -1:]]).tolist()
    neighbour, image = walk.fill(row_offset, nedges)
    sorted_j, incoming = torch.sort(neighbour, stable=True)
    atoms = torch.arange(natoms + 1, device=coord.device, dtype=torch.int32)
    return DeviceList(
        atom_of=atom_of,
        row_of=row_of,
        row_type=row_type,
        type_offset=tuple(type_offset),
        row_offset=row_offset,
        neighbour=neighbour,
        image=image,
        wrap=bins.wrap,
        incoming=incoming.to(torch.int32),
        incoming_offset=torch.searchsorted(sorted_j, atoms),
    )


def wrapped(
    found: DeviceList,
    coord: Float64[Tensor, "atom 3"],
    cells: Float64[Tensor, "replica 3 3"],
) -> Float64[Tensor, "atom 3"]:
    """Return where images start from: atoms of the list's time, moved since, wrapped.

    An atom that has left the cell since stays outside; ``wrap`` is of the list's time.
    """
    shape = (len(cells), len(coord) // len(cells), 3)
    return (coord.view(shape) - found.wrap.view(shape) @ cells).view(-1, 3)


def with_room(found: DeviceList) -> DeviceList:
    """Return the list with room for more edges, so that the next one fits in."""
    room = int(ROOM * len(found.neighbour)) + 64
    longer = {}
    for name in ("neighbour", "image", "incoming"):
        array = getattr(found, name)
        longer[name] = array.new_zeros(room)
        longer[name][: len(array)] = array
    return replace(found, **longer)


def keep_list(held: DeviceList, found: DeviceList) -> bool:
    """Copy a new list into the memory of the old one; False where it does not fit.

    A captured graph reads the old memory.
    """
    count = len(found.neighbour)
    if len(held.neighbour) < count or held.type_offset != found.type_offset:
        return False
    for field in fields(held):
        to, array = getattr(held, field.name), getattr(found, field.name)
        if isinstance(to, Tensor):
            to[: len(array)].copy_(array)
    return True


def complete_cells(
    box: Float64[Tensor, "replica 3 3"], pbc: NDArray[np.bool_]
) -> Float64[Tensor, "replica 3 3"]:
    """Replace open directions by unit vectors; looks at the device only for those.

    Raises:
        ValueError: If a cell is degenerate.
    """
    if pbc.all():
        return box.double().contiguous()
    cells = [complete_box(cell, pbc) for cell in box.cpu().numpy()]
    return torch.from_numpy(np.stack(cells)).to(box.device)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Bins:
    """Atoms in bins along the cell vectors."""

    coord: Tensor
    """(atom, 3), Å, wrapped."""
    wrap: Tensor
    """(atom, 3), float64, cell vectors that wrapping took away."""
    flat: Tensor
    """(atom), bin of each atom; those of a replica stand together."""
    shape: tuple[int, int, int]
    """Bins along the cell vectors."""
    reach: tuple[int, int, int]
    """Bins to either side that may hold a neighbour."""
    periodic: Tensor
    """(3)."""

    @property
    def total(self) -> int:
        """Bins of one replica."""
        return int(np.prod(self.shape))

    @classmethod
    def of(
        cls, coord: Tensor, cells: Tensor, pbc: NDArray[np.bool_], radius: float
    ) -> "_Bins":
        """Wrap the atoms and put them into bins."""
        device, nreplicas = coord.device, len(cells)
        natoms = len(coord) // nreplicas
        periodic = torch.from_numpy(pbc.copy()).to(device)
        inverse = torch.linalg.inv(cells)
        frac = (coord.view(nreplicas, natoms, 3) @ inverse).view(-1, 3)
        wrap = torch.where(periodic, frac.floor(), 0.0)
        frac = frac - wrap
        shifted = coord - (wrap.view(nreplicas, natoms, 3) @ cells).view(-1, 3)
        height = 1 / torch.linalg.vector_norm(inverse, dim=1)
        low = torch.where(periodic, 0.0, frac.amin(dim=0))
        # Along open directions the completed cell vector is 1 Å long.
        span = torch.where(periodic, 1.0, (frac.amax(dim=0) - low).clamp(min=1e-9))
        extent = torch.where(periodic, height, span)
        narrow = extent.amin(dim=0).cpu().numpy()
        # More bins than atoms only cost memory: think of two atoms a metre apart.
        most = 2 * int(np.ceil(max(natoms, 1) ** (1 / 3))) + 1
        nbins = np.clip(np.floor(narrow / radius), 1, most).astype(np.int64)
        reach = np.ceil(np.minimum(radius * nbins / narrow, 2**20)).astype(np.int64)
        reach = np.where(pbc, reach, np.minimum(reach, nbins - 1))
        if (reach > MOST_IMAGES * nbins).any():
            raise ModelError(
                f"box: a cell is {narrow[pbc].min():.3g} Å thin; expected at least "
                f"1/{MOST_IMAGES} of the list's radius, {radius:g} Å. Check the unit "
                "of the cell vectors."
            )
        shape = torch.from_numpy(nbins).to(device)
        place = ((frac - low) / span * shape).long()
        place = torch.minimum(place.clamp(min=0), shape - 1)
        replica = torch.arange(nreplicas, device=device).repeat_interleave(natoms)
        flat = (place[:, 0] * shape[1] + place[:, 1]) * shape[2] + place[:, 2]
        return cls(
            coord=shifted.contiguous(),
            wrap=wrap.contiguous(),
            flat=flat + replica * int(nbins.prod()),
            shape=tuple(nbins.tolist()),
            reach=tuple(reach.tolist()),
            periodic=periodic.to(torch.int32),
        )


@dataclass(frozen=True, slots=True)
class _Walk:
    """The pass over bins, which counts or fills."""

    bins: _Bins
    first: Tensor
    order: Tensor
    row_of: Tensor
    atype: Tensor
    cells: Tensor
    ntypes: int
    radius: float

    def count(self) -> Tensor:
        """Return where the edges of each row to each type start, (type, row + 1)."""
        device, natoms = self.order.device, len(self.atype)
        counts = torch.zeros(self.ntypes, natoms, dtype=torch.int64, device=device)
        self.run(counts=counts)
        ends = torch.cat([counts.new_zeros(1), counts.flatten().cumsum(0)])
        lines = torch.arange(self.ntypes, device=device)[:, None] * natoms
        return ends[lines + torch.arange(natoms + 1, device=device)].contiguous()

    def fill(self, row_offset: Tensor, nedges: int) -> tuple[Tensor, Tensor]:
        """Return neighbours and images, by distance inside each row and type."""
        neighbour = torch.zeros(nedges, dtype=torch.int32, device=row_offset.device)
        image = torch.zeros_like(neighbour)
        distance = torch.zeros(nedges, dtype=torch.float32, device=row_offset.device)
        self.run(row_offset=row_offset, edges=(neighbour, image, distance))
        ends = torch.cat([row_offset[:, :-1].flatten(), row_offset[-1, -1:]])
        edge = torch.arange(nedges, device=row_offset.device)
        owner = torch.searchsorted(ends, edge, right=True)
        near = (distance * (2**20 / self.radius)).long().clamp(max=2**21 - 1)
        order = torch.argsort((owner << 21) | near, stable=True)
        return neighbour[order], image[order]

    def run(
        self,
        *,
        counts: Tensor | None = None,
        row_offset: Tensor | None = None,
        edges: tuple[Tensor, Tensor, Tensor] | None = None,
    ) -> None:
        """Write ``counts``, or ``edges`` behind ``row_offset``."""
        from dpbench.kernels.gpu.programs import neighbours

        bins, total = self.bins, len(self.atype)
        none = self.order
        neighbours.walk[(total,)](
            *(bins.coord, self.cells, bins.flat, self.order, self.atype),
            *(self.first, self.row_of, none if row_offset is None else row_offset),
            none if counts is None else counts,
            *((none, none, none) if edges is None else edges),
            bins.periodic,
            *(total // len(self.cells), total, *bins.shape, *bins.reach),
            RADIUS=self.radius,
            NTYPES=self.ntypes,
            TYPES=max(launch.power_of_two(self.ntypes), 2),
            BLOCK=launch.bin_block(),
            FILL=edges is not None,
            num_warps=1,
        )
