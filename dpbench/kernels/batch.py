"""The batch that kernels, models and trainer share: frames and edges in CSR form."""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from dpbench.shapes import Bool, Float, Float64, Int32, Int64


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, weakref_slot=True)
class Batch:
    """Frames of any composition, their labels, and their directed edges.

    Edges are grouped by the type of the neighbour, then by centre, where centres come
    in the order of ``atom_order``, that is by type. So all edges between centres of
    one type and neighbours of one type are one slice, and so are the edges of one
    centre to neighbours of one type. Labels stay float64 whatever the model's
    precision is: an energy of -3e4 eV has steps of 2e-3 eV in float32. All tensors
    lie on one device; tuples of offsets stay on the host, so that no step waits for
    the device to learn a size. What is stored per edge is int32, because bytes an edge
    decide how many frames stay in memory.

    Two batches are equal only if they are one object. A resident frame gives the very
    same object each time, so that what is derived from it may be kept beside it, in a
    ``weakref.WeakKeyDictionary``; nobody writes into its tensors.
    """

    frame_offset: Int64[Tensor, " frame_plus_one"]
    """First row of each frame in the per-atom arrays."""
    frame_idx: Int64[Tensor, " atom"]
    """Frame of each atom."""
    atype: Int64[Tensor, " atom"]
    """Index of each atom's element into the model's ``type_map``."""
    atom_order: Int64[Tensor, " atom"]
    """The atoms sorted by type; rows of the descriptor come in this order."""
    atom_type_offset: tuple[int, ...]
    """(type + 1), first row of each type in ``atom_order``."""
    edge_i: Int32[Tensor, " edge"]
    """Centre atom."""
    edge_j: Int32[Tensor, " edge"]
    """Neighbour atom (may equal the centre: its own periodic image)."""
    edge_row: Int32[Tensor, " edge"]
    """Row of the centre in ``atom_order``."""
    edge_vec: Float[Tensor, "edge 3"]
    """coord[j] + shift @ box - coord[i], Å; formed in float64, then cast to the
    model's precision."""
    row_offset: Int64[Tensor, "type atom_plus_one"]
    """The edges from row a of ``atom_order`` to neighbours of type t are
    ``row_offset[t, a] : row_offset[t, a + 1]``."""
    pair_offset: tuple[tuple[int, ...], ...]
    """(neighbour type, centre type + 1), first edge of each pair of types."""
    most_neighbours: tuple[int, ...]
    """(neighbour type), a bound on the neighbours of that type around any atom."""
    energy: Float64[Tensor, " frame"]
    """eV; zero where not labelled."""
    force: Float64[Tensor, "atom 3"]
    """eV/Å; zero where not labelled."""
    virial: Float64[Tensor, "frame 3 3"]
    """eV; zero where not labelled."""
    has_energy: Bool[Tensor, " frame"]
    """Whether the energy is labelled."""
    has_force: Bool[Tensor, " frame"]
    """Whether the forces are labelled."""
    has_virial: Bool[Tensor, " frame"]
    """Whether the virial is labelled."""
    fparam: Float64[Tensor, "frame fparam"] | None = None
    """Numbers of each frame that the fitting net takes, such as a temperature."""
    aparam: Float64[Tensor, "atom aparam"] | None = None
    """Numbers of each atom that the fitting net takes."""

    @property
    def nframes(self) -> int:
        """Number of frames."""
        return len(self.energy)

    @property
    def natoms(self) -> Int64[Tensor, " frame"]:
        """Number of atoms of each frame."""
        return self.frame_offset[1:] - self.frame_offset[:-1]

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "Batch":
        """Return the batch on ``device``, its edge vectors in ``dtype``."""
        moved: dict[str, Any] = {}
        for field in fields(self):
            array = getattr(self, field.name)
            if not isinstance(array, Tensor):
                continue
            to_dtype = dtype if field.name == "edge_vec" else array.dtype
            moved[field.name] = array.to(device, to_dtype, non_blocking=True)
        return replace(self, **moved)
