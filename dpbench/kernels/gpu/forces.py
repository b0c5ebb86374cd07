"""P1, the fitting nets and P2 of moving atoms: what an evaluator puts together."""

from typing import NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from dpbench.kernels.gpu import launch
from dpbench.kernels.gpu.gram import gram, gram_adjoint
from dpbench.kernels.gpu.neighbours import DeviceList
from dpbench.kernels.gpu.padding import Padding, finish_moments
from dpbench.kernels.gpu.product import Products, infer
from dpbench.kernels.inference.packed import packed_columns
from dpbench.kernels.inference.state import PotentialState
from dpbench.kernels.layers import Layer
from dpbench.shapes import Float64

BLOCK_ROWS = 32768
"""Atoms whose descriptors are held at once: 12.8 kB an atom in float32."""


class DeviceModel(NamedTuple):
    """A model's numbers as the programs want them, on the device."""

    state: PotentialState
    net: Tensor
    arrays: tuple[Tensor, ...]
    """davg, 1 / dstd, mask, lower, step, first, coefficients."""
    padding: Padding | None
    sel: Tensor
    bias: Tensor
    fitting: tuple[tuple[Layer, ...], ...]
    """Nets whose first layer takes the whole descriptor."""


def lay_out(state: PotentialState) -> DeviceModel:
    """Bring a model's numbers to its device, in its precision."""
    device, dtype, tables = state.device, state.dtype, state.tables

    def moved(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device, dtype)

    net = torch.from_numpy(state.net).to(device)
    rows = moved(state.empty_rows) if state.empty_rows.any() else None
    grid = tables.grid
    return DeviceModel(
        state=state,
        net=net,
        arrays=(
            moved(state.davg),
            moved(1 / state.dstd),
            moved(state.is_seen.astype(np.float64)),
            *(t.to(device) for t in (tables.lower, tables.step, tables.first)),
            tables.coefficients.contiguous(),
        ),
        padding=Padding.of(rows, net, grid),
        sel=torch.tensor(state.sel, device=device, dtype=dtype),
        bias=torch.from_numpy(state.energy_bias).to(device),
        fitting=tuple(_unpack(layers, state) for layers in state.fitting),
    )


def _unpack(layers: tuple[Layer, ...], state: PotentialState) -> tuple[Layer, ...]:
    """Let the first layer take D whole: it gets the packed half, the twins nothing."""
    channels, axis = state.tables.width, state.axis
    first = layers[0]
    w = first.w.new_zeros(channels * axis, first.w.shape[1])
    w[packed_columns(channels, axis).to(w.device)] = first.w.detach()
    return (Layer(w, first.b, first.idt), *layers[1:])


@final
class MovingEdges:
    """P1 and P2 of one configuration."""

    def __init__(
        self,
        model: DeviceModel,
        listed: DeviceList,
        coord: Tensor,
        cells: Tensor,
        frame: Tensor,
    ) -> None:
        """Note what the programs take.

        Args:
            model: The model.
            listed: Neighbours.
            coord: Å, (atom, 3), float64: ``wrapped``.
            cells: Å, completed cells, (replica, 3, 3).
            frame: Replica of each atom.
        """
        self._model, self._listed, self._frame = model, listed, frame
        state, width = model.state, model.arrays[-1].shape[2]
        self._arrays = (
            *(coord, cells, listed.atom_of, frame[listed.atom_of]),
            *(listed.neighbour, listed.image, listed.row_offset, listed.row_type),
            *(model.net, *model.arrays),
        )
        self._sizes = {
            "nrows": len(listed.atom_of),
            "NTYPES": state.ntypes,
            "NETS": len(state.tables.step),
            "WIDTH": width,
            "LANES": launch.power_of_two(width),
            "BLOCK": launch.edge_block(),
            "num_warps": launch.EDGE_WARPS,
            "RCUT": state.rcut,
            "RCUT_SMTH": state.rcut_smth,
            "PROTECTION": state.protection,
        }

    def moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return X, the empty slots by row and type, and edges beyond the table."""
        from dpbench.kernels.gpu.programs import moving

        coefficients, nrows = self._model.arrays[-1], len(self._listed.atom_of)
        x = coefficients.new_empty(nrows, 4, coefficients.shape[2])
        counts = torch.zeros(
            nrows, self._model.state.ntypes, dtype=torch.int32, device=x.device
        )
        extended = torch.zeros(nrows, dtype=torch.int32, device=x.device)
        if nrows:
            moving.moving_moments[(nrows,)](
                *(*self._arrays, x, counts, extended), **self._sizes
            )
        return x, self._model.sel + counts, extended

    def gradient(self, grad_x: Tensor) -> Tensor:
        """Return g of each edge."""
        from dpbench.kernels.gpu.programs import moving

        nrows = len(self._listed.atom_of)
        grad = grad_x.new_empty(len(self._listed.neighbour), 3)
        if nrows:
            moving.moving_gradient[(nrows,)](
                *(*self._arrays, grad_x, grad), **self._sizes
            )
        return grad

    def gather(self, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Return forces, and each atom's share of the virial."""
        from dpbench.kernels.gpu.programs import moving

        listed, natoms = self._listed, len(self._listed.row_of)
        force, virial = (
            torch.zeros(natoms, columns, dtype=torch.float64, device=grad.device)
            for columns in (3, 9)
        )
        if natoms:
            moving.gather_forces[(natoms,)](
                *(*self._arrays[:2], self._frame, listed.neighbour, listed.image),
                *(listed.row_of, listed.row_offset, listed.incoming),
                *(listed.incoming_offset, grad, force, virial, natoms),
                NTYPES=len(listed.row_offset),
                BLOCK=launch.line_block(),
                num_warps=1,
            )
        return force, virial


def through_nets(
    model: DeviceModel, listed: DeviceList, x: Tensor, empty: Tensor, products: Products
) -> Float64[Tensor, " row"]:
    """Turn X into dE/dX in place, block by block; return the energies by row."""
    state = model.state
    scale, width = 1 / sum(state.sel), state.tables.width
    energy = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for centre, layers in enumerate(model.fitting):
        first, last = listed.type_offset[centre : centre + 2]
        for begin in range(first, last, BLOCK_ROWS):
            rows = slice(begin, min(begin + BLOCK_ROWS, last))
            part = x[rows]
            finish_moments(
                *(part, model.padding, empty[rows], listed.row_type[rows]),
                coefficients=model.arrays[-1],
                scale=scale,
            )
            descriptor = gram(part, part, channels=width, axis=state.axis)
            found, grad = infer(descriptor, layers, state.activation, products=products)
            energy[rows] = found.double() + model.bias[centre]
            part.copy_(gram_adjoint(grad, part, axis=state.axis, scale=scale))
    return energy
