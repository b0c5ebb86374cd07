"""A training step on the device: four passes, loss, gradient, Adam; one CUDA graph.

For each bucket of batches that comes often one graph is recorded, with Adam or without.
A step is then one copy of a packed batch and one replay: learning rate, prefactors,
step count and losses lie on the device, and the host looks at the ring of losses when
it likes.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from dpbench.kernels.batch import Batch
from dpbench.kernels.fitting import Pass
from dpbench.kernels.gpu import fitting, passes
from dpbench.kernels.gpu.frames import (
    Bucket,
    bucket_of,
    edges_of,
    incidence_of,
    layout_of,
    pack_frames,
    runs_of,
)
from dpbench.kernels.gpu.gram import gram, gram_adjoint, gram_adjoint_dot
from dpbench.kernels.gpu.graph import Captured, Shelf
from dpbench.kernels.gpu.optimiser import DeviceAdam
from dpbench.kernels.gpu.packed import Packed
from dpbench.kernels.gpu.padding import (
    Padding,
    add_padding_adjoint,
    finish_moments,
)
from dpbench.kernels.gpu.tables import TableMaker
from dpbench.kernels.layers import Layer
from dpbench.kernels.passes.data import Normal
from dpbench.kernels.tables import Grid, Tables
from dpbench.shapes import Float, Float64, Int64

Nets = Sequence[Sequence[Layer]]


@dataclass(frozen=True, kw_only=True, slots=True)
class StepModel:
    """What a step trains: nets as views of one buffer, and what belongs to them."""

    flat: Float[Tensor, " parameter"]
    """All parameters."""
    gradient: Float[Tensor, " parameter"]
    """Buffer of the same layout."""
    embedding: Nets
    """Layers of the tanh embedding nets, views of ``flat``."""
    embedding_gradient: Nets
    """The same views of ``gradient``."""
    fitting: Nets
    """Layers of each type's fitting net, views of ``flat``."""
    fitting_gradient: Nets
    """The same views of ``gradient``."""
    activation: str
    """Of the fitting nets."""
    grid: Grid
    """Intervals of the tables; they must hold every edge of every batch."""
    normal: Normal
    """How environment rows are formed."""
    net: Int64[Tensor, "type type"]
    """Table of each pair (centre type, neighbour type)."""
    empty_rows: Float[Tensor, "type 4"] | None
    """R0 = -davg / dstd by centre type; None where davg is zero."""
    sel: Float[Tensor, " type"]
    """Neighbour slots."""
    bias: Float64[Tensor, " type"]
    """Energy bias, eV."""
    axis: int
    """Columns of the moments that the descriptor contracts with all others."""


class _Forward(NamedTuple):
    """What the second half of a step needs of the first."""

    tables: Tables
    x: Tensor
    done: list[Pass]
    grad_d: Tensor
    grad_x: Tensor


@final
class DeviceStep:
    """Training steps without the host.

    Not for models whose embedding is no tanh net: ``kernels.gpu.tables.is_served``.
    """

    def __init__(
        self,
        model: StepModel,
        optimiser: DeviceAdam | None,
        course: Float64[Tensor, "step 4"],
        *,
        with_virial: bool = False,
        remembered: int = 1024,
    ) -> None:
        """Set up a step.

        Args:
            model: What is trained; its buffers are changed in place.
            optimiser: Over ``model.flat``; without one a step ends with the gradient,
                and losses are in the first row of the ring.
            course: Learning rate and prefactors of energy, force and virial by step;
                without optimiser one row, which may be written to.
            with_virial: Whether the virial has a prefactor at any step.
            remembered: Steps whose losses are kept.
        """
        self.model, self.optimiser, self.course = model, optimiser, course
        self.with_virial = with_virial
        device = model.flat.device
        zero = torch.zeros((), dtype=torch.int64, device=device)
        self._count = zero if optimiser is None else optimiser.count
        self.ring: Float64[Tensor, "step 4"] = torch.zeros(
            remembered, 4, dtype=torch.float64, device=device
        )
        """Loss and mean squares of energy, force and virial errors of the last steps;
        step k in row k modulo its length."""
        self._scale = 1 / float(model.sel.sum())
        self._maker = TableMaker(model.embedding, model.grid)
        grid = model.grid
        self._grid = [t.to(device) for t in (grid.lower, grid.step, grid.first)]
        self._padding = Padding.of(model.empty_rows, model.net, grid)
        self._graphs: Shelf[tuple[Packed, Captured]] = Shelf()
        is_cuda = device.type == "cuda"
        self._pool = torch.cuda.graph_pool_handle() if is_cuda else None

    def pack(self, batch: Batch) -> tuple[Bucket, Packed]:
        """Prepare a batch, once: keep the result as long as its frames are trained on.

        Args:
            batch: On the model's device and in its precision.
        """
        model = self.model
        packed = pack_frames(
            batch, model.normal, model.net, model.grid, sel=model.sel, bias=model.bias
        )
        return bucket_of(batch), packed

    def step(self, bucket: Bucket, packed: Packed) -> bool:
        """Take one step with what ``pack`` returned; nothing waits for the device.

        Work that is not recorded is the same work, so the numbers are the same.

        Returns:
            Whether a graph was replayed.
        """
        held = self._graphs.get(bucket, lambda: self._record(bucket, packed))
        if held is None:
            self._work(bucket, packed)
        else:
            held[0].copy_from(packed)
            held[1]()
        return held is not None

    def evaluate(self, bucket: Bucket, packed: Packed) -> None:
        """Only write ``model.gradient`` and the ring's present row."""
        found = self._forward(bucket, packed)
        weights = self._compare(bucket, packed, found)
        self._backward(bucket, packed, found, weights)

    def _work(self, bucket: Bucket, packed: Packed) -> None:
        self.evaluate(bucket, packed)
        if self.optimiser is not None:
            self.optimiser.step(self.model.gradient, self.course)

    def _record(self, bucket: Bucket, packed: Packed) -> tuple[Packed, Captured]:
        static = Packed(packed.fields, self.model.flat.device)
        static.copy_from(packed)
        optimiser, changed = self.optimiser, [self.ring]
        if optimiser is not None:
            changed += [self.model.flat, optimiser.mean, optimiser.square]
            changed += [optimiser.count]
        captured = Captured(
            lambda: self._work(bucket, static),
            device=self.model.flat.device,
            changed=changed,
            pool=self._pool,
        )
        return static, captured

    def _forward(self, bucket: Bucket, packed: Packed) -> _Forward:
        """Run P1 and both ways through the fitting nets."""
        model, views = self.model, packed.views
        lower, step, first = self._grid
        tables = Tables(
            lower=lower,
            step=step,
            first=first,
            coefficients=self._maker.make(model.embedding, model.flat.dtype),
            width=self._maker.channels,
        )
        layout = layout_of(packed, model.net, bucket.nframes)
        x = passes.moments(edges_of(packed), layout, tables)
        finish_moments(
            *(x, self._padding, views["empty"], views["row_type"]),
            coefficients=tables.coefficients,
            scale=self._scale,
        )
        descriptor = gram(x, x, channels=tables.width, axis=model.axis)
        done = [
            fitting.forward(descriptor[rows], layers, model.activation)
            for rows, layers in zip(_slices(bucket), model.fitting, strict=True)
        ]
        grad_d = torch.cat([fitting.backward(one) for one in done])
        grad_x = gram_adjoint(grad_d, x, axis=model.axis, scale=self._scale)
        return _Forward(tables, x, done, grad_d, grad_x)

    def _compare(
        self, bucket: Bucket, packed: Packed, found: _Forward
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run P2 and the loss; return eps, -dL/dF and dL/dXi."""
        model, views = self.model, packed.views
        layout, edges = layout_of(packed, model.net, bucket.nframes), edges_of(packed)
        grad = passes.edge_gradient(
            found.grad_x, edges, layout, model.normal, found.tables
        )
        force, by_atom = passes.assemble_along(
            grad, edges.vec, layout, incidence_of(packed), virial=self.with_virial
        )
        by_row = torch.cat([one.energy for one in found.done])
        offset = views["frame_offset"]
        by_atom_energy = by_row[views["row_of_atom"]].unsqueeze(1)
        energy = passes.segment_sums(by_atom_energy, offset)
        virial = energy.new_empty(bucket.nframes, 9)
        if self.with_virial:
            virial = passes.segment_sums(by_atom, offset)
        eps, minus_v = torch.empty_like(energy), torch.empty_like(force)
        strain = energy.new_zeros(bucket.nframes, 3, 3)
        _programs().loss[(1,)](
            *(energy, views["energy"], views["energy_weight"], views["natoms"]),
            *(force, views["force"], views["force_weight"]),
            *(virial, views["virial"], views["virial_weight"]),
            *(self.course, self._count, eps, minus_v, strain, self.ring),
            *(bucket.nframes, force.numel(), len(self.course)),
            CAPACITY=len(self.ring),
            COURSE=self.course.shape[1],
            WITH_VIRIAL=self.with_virial,
            BLOCK=1024,
        )
        return eps[:, 0], minus_v, strain

    def _backward(
        self,
        bucket: Bucket,
        packed: Packed,
        found: _Forward,
        weights: tuple[Tensor, Tensor, Tensor],
    ) -> None:
        """Run P3 and P4: write the gradient of the loss."""
        model, views = self.model, packed.views
        layout, edges = layout_of(packed, model.net, bucket.nframes), edges_of(packed)
        by_frame, minus_v, strain = weights
        tilt = strain if self.with_virial else None
        rows_dot = passes.tangent_rows(edges, layout, model.normal, minus_v, tilt)
        x_dot = passes.tangent_moments(rows_dot, edges, layout, found.tables)
        x_dot *= self._scale
        descriptor_dot = gram(
            found.x, x_dot, channels=found.tables.width, axis=model.axis, both=True
        )
        eps = by_frame[views["row_frame"]].to(model.flat.dtype)
        changes = []
        nets = zip(_slices(bucket), found.done, model.fitting_gradient, strict=True)
        for rows, done, out in nets:
            _, along = fitting.tangent(done, descriptor_dot[rows])
            changes.append(fitting.tangent_backward(done, along))
            fitting.weight_gradients(done, along, eps[rows], out=out)
        grad_x = gram_adjoint_dot(
            *((found.grad_d, torch.cat(changes)), (found.x, x_dot), found.grad_x, eps),
            axis=model.axis,
            scale=self._scale,
        )
        by_piece = passes.adjoint_along(
            (grad_x, found.grad_x), rows_dot, edges, layout, runs_of(packed)
        )
        if self._padding is not None:
            add_padding_adjoint(
                *(grad_x, self._padding, views["empty"], bucket.atom_type_offset),
                by_piece,
            )
        found_layers = self._maker.adjoint(model.embedding, by_piece)
        for layers, targets in zip(found_layers, model.embedding_gradient, strict=True):
            for layer, target in zip(layers, targets, strict=True):
                _write(layer, target)


def _slices(bucket: Bucket) -> list[slice]:
    """Return the rows of each type."""
    return [slice(*ends) for ends in itertools.pairwise(bucket.atom_type_offset)]


def _write(layer: Layer, target: Layer) -> None:
    for place, value in zip(target, layer, strict=True):
        if place is not None and value is not None:
            place.copy_(value)


def _programs() -> Any:
    """Import the programs when they are first needed."""
    from dpbench.kernels.gpu.programs import loss

    return loss
