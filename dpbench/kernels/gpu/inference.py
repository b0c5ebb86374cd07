"""Energies and forces of moving atoms on the device, by Triton.

Signatures of ``kernels.inference``. Batches whose edges are known go through the
reference: they are for evaluation, where speed is not needed.
"""

from typing import NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from dpbench.errors import ModelError
from dpbench.kernels.gpu import launch, passes
from dpbench.kernels.gpu.gram import gram, gram_adjoint
from dpbench.kernels.gpu.neighbours import DeviceList, build_list, complete_cells
from dpbench.kernels.gpu.padding import Padding, finish_moments
from dpbench.kernels.gpu.product import Products, infer
from dpbench.kernels.inference import reference
from dpbench.kernels.inference.packed import packed_columns
from dpbench.kernels.inference.state import (
    AbstractEvaluator,
    Forces,
    HasState,
    PotentialState,
)
from dpbench.kernels.layers import Layer
from dpbench.kernels.neighbours.verlet import check_finite
from dpbench.shapes import Bool, Float64, Int, Int64

BLOCK_ROWS = 32768
"""Atoms whose descriptors are held at once: 12.8 kB an atom in float32."""

make_batch_evaluator = reference.make_batch_evaluator
"""Evaluators for batches whose edges are known, in plain torch."""


def make_evaluator(
    potential: HasState,
    atype: Int[Tensor, " atom"],
    *,
    nreplicas: int = 1,
    skin: float = 1.0,
) -> "DeviceEvaluator":
    """Make an evaluator for replicas of one system; see ``DeviceEvaluator``."""
    return DeviceEvaluator(potential.state, atype, nreplicas=nreplicas, skin=skin)


def check(dtype: torch.dtype) -> float:
    """Return the largest relative error against the reference on a small problem.

    Raises:
        ImportError: If Triton programs cannot run here; the message says why.
    """
    from dpbench.kernels.gpu.trial import device_at_hand
    from dpbench.kernels.inference.trial import largest_error

    return largest_error(make_evaluator, dtype, device_at_hand())


class DeviceForces(NamedTuple):
    """What ``Forces`` holds, all of it on the device."""

    energy: Float64[Tensor, " replica"]
    force: Float64[Tensor, "atom 3"]
    virial: Float64[Tensor, "replica 3 3"]
    atom_energy: Float64[Tensor, " atom"]
    extended: Int64[Tensor, ""]
    crowded: Int64[Tensor, ""]


@final
class DeviceEvaluator(AbstractEvaluator):
    """Energies and forces of replicas of one system, all on the device."""

    def __init__(
        self,
        state: PotentialState,
        atype: Int[Tensor, " atom"],
        *,
        nreplicas: int = 1,
        skin: float = 1.0,
        products: Products = "torch",
    ) -> None:
        """Lay the model out; there is no list yet.

        Args:
            state: The model, on the device.
            atype: Types of the atoms of one replica.
            nreplicas: Copies of the system, each with coordinates and a cell.
            skin: Extra radius of the neighbour list, Å.
            products: Who multiplies the fitting nets' matrices in float32.
        """
        self.products = products
        self.state, self.nreplicas, self.skin = state, nreplicas, skin
        self.builds = 0
        device, natoms = state.device, len(atype)
        self._atype = atype.to(device, torch.int64).repeat(nreplicas)
        frame = torch.arange(nreplicas, device=device).repeat_interleave(natoms)
        self._frame = frame
        self._offset = torch.arange(nreplicas + 1, device=device) * natoms
        self._model = _lay_out(state)
        self._pbc = np.ones(3, dtype=np.bool_)
        self._list: DeviceList | None = None
        self._then = torch.zeros(0, 3, dtype=torch.float64, device=device)
        self._old = torch.zeros(0, 3, 3, dtype=torch.float64, device=device)

    def build(
        self,
        coord: Float64[Tensor, "atom 3"],
        box: Float64[Tensor, "replica 3 3"],
        pbc: Bool[Tensor, "3"],
    ) -> None:
        """Make a new neighbour list."""
        if not bool(torch.isfinite(coord).all()):
            check_finite(coord.cpu().numpy(), len(coord) // self.nreplicas)
        self.builds += 1
        self._pbc = pbc.cpu().numpy()
        cells = complete_cells(box, self._pbc)
        self._list = build_list(
            coord.contiguous(),
            cells,
            self._pbc,
            self._atype,
            radius=self.state.rcut + self.skin,
            ntypes=self.state.ntypes,
        )
        self._then, self._old = coord.clone(), cells.clone()

    def needs_build(
        self,
        coord: Float64[Tensor, "atom 3"],
        box: Float64[Tensor, "replica 3 3"] | None = None,
    ) -> bool:
        """Say whether a pair within the cutoff may be missing; waits for the device."""
        if self._list is None:
            return True
        return bool(self.outdated(coord, box))

    def outdated(
        self,
        coord: Float64[Tensor, "atom 3"],
        box: Float64[Tensor, "replica 3 3"] | None = None,
    ) -> Bool[Tensor, ""]:
        """As ``needs_build``, but leave the answer on the device."""
        from dpbench.kernels.gpu.programs import neighbours

        then, stretch = self._then, torch.ones((), device=coord.device)
        if box is not None:
            affine = torch.linalg.solve(self._old, complete_cells(box, self._pbc))
            then = (then[:, None, :] @ affine[self._frame])[:, 0]
            stretch = torch.linalg.matrix_norm(torch.linalg.inv(affine), ord=2).amax()
        natoms, block = len(coord), launch.flat_block()
        blocks = -(-natoms // block)
        square = torch.zeros(max(blocks, 1), dtype=torch.float64, device=coord.device)
        if natoms:
            neighbours.farthest[(blocks,)](
                *(coord.contiguous(), then.contiguous(), square, natoms), BLOCK=block
            )
        reach = stretch * (self.state.rcut + 2 * square.amax().sqrt())
        return torch.logical_not(reach <= self.state.rcut + self.skin)

    def evaluate(
        self,
        coord: Float64[Tensor, "atom 3"],
        box: Float64[Tensor, "replica 3 3"],
    ) -> Forces:
        """Evaluate all replicas with the present list; waits for the device once."""
        found = self.evaluate_on_device(coord, box)
        finite = torch.isfinite(found.energy).all()
        summary = torch.stack([found.extended, found.crowded, finite.long()]).tolist()
        if not summary[2]:
            self._explain(coord)
        return Forces(
            energy=found.energy,
            force=found.force,
            virial=found.virial,
            atom_energy=found.atom_energy,
            extended=summary[0],
            crowded=summary[1],
        )

    def evaluate_on_device(
        self,
        coord: Float64[Tensor, "atom 3"],
        box: Float64[Tensor, "replica 3 3"],
    ) -> DeviceForces:
        """Evaluate without a look at the host, so that a graph can hold it.

        Positions that are not finite show as energies that are not.

        Raises:
            ModelError: If there is no list yet.
        """
        listed, model = self._list, self._model
        if listed is None:
            raise ModelError("evaluate: there is no neighbour list; call build first.")
        cells = complete_cells(box, self._pbc)
        with torch.no_grad():
            edges = _Edges(model, listed, coord.contiguous(), cells, self._frame)
            x, empty, extended = edges.moments()
            by_row = _through_nets(model, listed, x, empty, self.products)
            force, by_atom = edges.gather(edges.gradient(x))
            atom_energy = torch.empty_like(by_row)
            atom_energy[listed.atom_of] = by_row
            crowded = (empty < 0).any(dim=1).sum()
            sums = passes.segment_sums(
                torch.cat([atom_energy[:, None], by_atom], dim=1), self._offset
            )
        return DeviceForces(
            energy=sums[:, 0],
            force=force,
            virial=sums[:, 1:].view(-1, 3, 3),
            atom_energy=atom_energy,
            extended=extended.sum(),
            crowded=crowded,
        )

    def _explain(self, coord: Tensor) -> None:
        """Raise, naming the atom whose position is no number, if there is one.

        Raises:
            ModelError: Always.
        """
        check_finite(coord.cpu().numpy(), len(coord) // self.nreplicas)
        raise ModelError(
            "energy: is not finite though all positions are; expected a number. Two "
            "atoms may be at one place, or the model's weights may not be finite."
        )


class _Model(NamedTuple):
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


def _lay_out(state: PotentialState) -> _Model:
    device, dtype, tables = state.device, state.dtype, state.tables

    def moved(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device, dtype)

    net = torch.from_numpy(state.net).to(device)
    rows = moved(state.empty_rows) if state.empty_rows.any() else None
    grid = tables.grid
    return _Model(
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
class _Edges:
    """P1 and P2 of one configuration."""

    def __init__(
        self,
        model: _Model,
        listed: DeviceList,
        coord: Tensor,
        cells: Tensor,
        frame: Tensor,
    ) -> None:
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


def _through_nets(
    model: _Model, listed: DeviceList, x: Tensor, empty: Tensor, products: Products
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
