"""The batch that kernels, models and trainer share: frames and edges in CSR form."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from dpbench.shapes import Bool, Float, Int64


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Frames of any composition, their labels, and their directed edges.

    An edge (i, j, shift) stands for the neighbour vector
    d = coord[j] + shift @ box[frame(i)] - coord[i]. Edges are grouped by the type of
    the neighbour, then by centre: those to neighbours of type t are the rows
    ``type_offset[t] : type_offset[t + 1]``. All arrays lie on one device.
    """

    frame_offset: Int64[Tensor, " frame_plus_one"]
    """First row of each frame in the per-atom arrays."""
    frame_idx: Int64[Tensor, " atom"]
    """Frame of each atom."""
    atype: Int64[Tensor, " atom"]
    """Index of each atom's element into the model's ``type_map``."""
    coord: Float[Tensor, "atom 3"]
    """Å."""
    box: Float[Tensor, "frame 3 3"]
    """Å, rows are cell vectors; zeros where there is no cell."""
    edge_i: Int64[Tensor, " edge"]
    """Centre atom."""
    edge_j: Int64[Tensor, " edge"]
    """Neighbour atom (may equal the centre: its own periodic image)."""
    shift: Float[Tensor, "edge 3"]
    """Integer cell shifts of the neighbour, as floats."""
    type_offset: Int64[Tensor, " type_plus_one"]
    """First edge of each neighbour type; kept on the CPU."""
    energy: Float[Tensor, " frame"]
    """eV; zero where not labelled."""
    force: Float[Tensor, "atom 3"]
    """eV/Å; zero where not labelled."""
    virial: Float[Tensor, "frame 3 3"]
    """eV; zero where not labelled."""
    has_energy: Bool[Tensor, " frame"]
    """Whether the energy is labelled."""
    has_force: Bool[Tensor, " frame"]
    """Whether the forces are labelled."""
    has_virial: Bool[Tensor, " frame"]
    """Whether the virial is labelled."""

    @property
    def nframes(self) -> int:
        """Number of frames."""
        return len(self.energy)

    @property
    def natoms(self) -> Int64[Tensor, " frame"]:
        """Number of atoms of each frame."""
        return self.frame_offset[1:] - self.frame_offset[:-1]

    def to(self, device: torch.device, dtype: torch.dtype) -> "Batch":
        """Return the batch on ``device`` with its floating arrays in ``dtype``."""
        moved = {}
        for field in fields(self):
            array = getattr(self, field.name)
            if field.name == "type_offset":
                continue
            to_dtype = dtype if array.is_floating_point() else array.dtype
            moved[field.name] = array.to(device, to_dtype, non_blocking=True)
        return replace(self, **moved)
