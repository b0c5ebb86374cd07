"""The four passes for DPA-1 without attention (``se_atten``), its net tabulated.

As ``four_pass``: P1 moments and energies, P2 forces, P3 a tangent of the positions, P4
its reverse. One table serves all types; the types' share, a small net of embedded
types, has an autograd graph of its own that holds no edge.
"""

import math
from typing import NamedTuple, final
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from dpbench.errors import ModelError
from dpbench.kernels.batch import Batch
from dpbench.kernels.choice import choose
from dpbench.kernels.fitting.parts import Nets, adjoint, descend, energies, shares_of
from dpbench.kernels.passes import Edges, Normal
from dpbench.kernels.passes.gram import gram, gram_adjoint
from dpbench.kernels.strip import Share
from dpbench.kernels.switch import switch_slope, switch_weight
from dpbench.kernels.tables import Grid, Tables, grid_for, pieces_for
from dpbench.models.config import SeAttenConfig
from dpbench.models.edge_features import (
    DISTANCE_STEP,
    INTERVALS,
    UNUSED_DISTANCE,
    layout_of,
)
from dpbench.models.four_pass import OutputWeights
from dpbench.models.parameters import FlatParameters, embedding_nets, fitting_nets
from dpbench.models.potential import DeepPotential, Prediction
from dpbench.models.se_atten import embedded_types
from dpbench.shapes import Float, Float64, Int64


class _Constants(NamedTuple):
    """What a model contributes beside its parameters, on its device."""

    options: SeAttenConfig
    normal: Normal
    net: Int64[Tensor, "type type"]
    empty_rows: Float[Tensor, "type 4"] | None
    bias: Float64[Tensor, " type"]


_CONSTANTS: WeakKeyDictionary[DeepPotential, _Constants] = WeakKeyDictionary()


@final
class StripPass:
    """One evaluation of a model on a batch, and the gradients that follow from it."""

    def __init__(
        self,
        model: DeepPotential,
        batch: Batch,
        *,
        with_virial: bool,
        intervals: int = INTERVALS,
    ) -> None:
        """Run P1 and P2.

        Args:
            model: The model; its parameters must not change as long as this is used.
            batch: Frames on the model's device and in its precision.
            with_virial: Whether the virial is wanted; else it is zero.
            intervals: Pieces of the table.
        """
        self._model, self._batch = model, batch
        self._constants = _constants_of(model)
        options = self._constants.options
        self._axis, self._channels = options.axis_neuron, options.neuron[-1]
        self._scale = 1 / options.slots
        self._layout = layout_of(batch, self._constants.net)
        device, dtype = model.device, model.dtype
        self._plain = choose("passes", device, dtype)
        self._strip = choose("strip", device, dtype)
        self._makers = choose("tables", device, dtype)
        self._tabulate(intervals)
        self._share_types()
        self._x = self._moments()
        self._descend(with_virial=with_virial)

    def gradient(self, weights: OutputWeights) -> Float[Tensor, " parameter"]:
        """Run P3 and P4: the gradient of eps.E + v.F + T:Xi by all parameters."""
        model, batch, x = self._model, self._batch, self._x
        gradient = FlatParameters(
            torch.zeros_like(model.parameters.flat), model.parameters.shapes
        )
        rows_dot = self._plain.tangent_rows(
            self._edges,
            self._layout,
            self._constants.normal,
            -weights.force,
            weights.virial,
        )
        x_dot = self._strip.tangent_moments(rows_dot, *self._where, self._tables)
        x_dot = x_dot.mul_(self._scale)
        kind = {"channels": self._channels, "axis": self._axis}
        dot = gram(x_dot, x, **kind) + gram(x, x_dot, **kind)
        extra = self._grad_input.shape[1] - dot.shape[1]
        dot = torch.nn.functional.pad(dot, (0, extra))
        eps = weights.energy[batch.frame_idx[batch.atom_order]].to(x.dtype)
        (net,) = fitting_nets(model.config)
        targets = [net.layers(gradient.views)]
        change = adjoint(self._nets, self._passes, dot, eps, targets)
        to_input = change + eps[:, None] * self._grad_input
        width = self._channels * self._axis
        grad_x = gram_adjoint(change[:, :width].contiguous(), x, axis=self._axis)
        grad_x += gram_adjoint(self._grad_d, x_dot, axis=self._axis)
        grad_x.addcmul_(self._grad_x, eps[:, None, None])
        self._adjoint(grad_x, rows_dot, to_input[:, width : self._own_inputs], gradient)
        return gradient.flat

    def _tabulate(self, intervals: int) -> None:
        """Tabulate the net of distances, and place the edges in the table."""
        model, batch = self._model, self._batch
        (self._net,) = embedding_nets(model.config)
        self._layers = [self._net.layers(model.parameters.views)]
        self._name = self._constants.options.activation_function
        shortest = self._plain.shortest(batch.edge_vec, self._layout).cpu()
        self._grid = _make_grid(model, self._constants, shortest, intervals)
        self._tables: Tables = self._makers.make_tables(
            self._layers, self._name, self._grid, model.dtype
        )
        self._edges: Edges = self._plain.prepare(
            batch.edge_vec, self._layout, self._constants.normal, self._tables
        )

    def _share_types(self) -> None:
        """Embed the types; their net keeps a graph, which holds no edge."""
        model, options = self._model, self._constants.options
        self._leaf = model.parameters.flat.detach().requires_grad_(True)
        with torch.enable_grad():
            views = model.parameters.unflatten(self._leaf)
            self._types, self._pairs = embedded_types(
                views, options, model.config.ntypes
            )
        table = self._pairs.detach().transpose(0, 1)
        width = self._tables.coefficients.shape[2]
        share = Share(
            table=torch.nn.functional.pad(
                table, (0, width - table.shape[2])
            ).contiguous(),
            weight=self._weights(),
        )
        self._where = (self._edges, share, self._layout)

    def _weights(self) -> Float[Tensor, "edge 2"]:
        """Return w and dw/ds of each edge; one and zero where nothing is smoothed."""
        options, edges = self._constants.options, self._edges
        r = torch.linalg.vector_norm(edges.vec, dim=1)
        if not options.smooth_type_embedding:
            return torch.stack([torch.ones_like(r), torch.zeros_like(r)], dim=1)
        radii = {"rcut_smth": options.rcut_smth, "rcut": options.rcut}
        std = self._constants.normal.inverse_std[:, 0]
        radial = edges.radial[:, 1] * r
        radial = radial * std[self._layout.row_type[self._layout.edge_row]]
        # Beyond the cutoff, and of masked pairs, both are zero.
        safe = torch.where(radial == 0, 1.0, radial)
        slope = torch.where(radial == 0, 0.0, switch_slope(r, **radii) / safe)
        return torch.stack([switch_weight(r, **radii), slope], dim=1)

    def _moments(self) -> Float[Tensor, "row 4 width"]:
        x: Tensor = self._strip.moments(*self._where, self._tables)
        rows = self._constants.empty_rows
        if rows is not None:
            self._piece, self._powers = _empty_places(self._grid, rows)
            pieces = self._tables.coefficients[self._piece]
            features = (self._powers.unsqueeze(1) @ pieces)[:, 0]
            empty = rows.unsqueeze(2) * features.unsqueeze(1)
            x += empty[self._layout.row_type] * self._empty_slots()[:, None, None]
        return x.mul_(self._scale)

    def _empty_slots(self) -> Float[Tensor, " row"]:
        offset = self._batch.row_offset
        taken = (offset[:, 1:] - offset[:, :-1]).sum(dim=0)
        return (self._constants.options.slots - taken).to(self._model.dtype)

    def _descend(self, *, with_virial: bool) -> None:
        """Run the fitting net, and everything back to forces."""
        model, batch, x = self._model, self._batch, self._x
        inputs = gram(x, x, channels=self._channels, axis=self._axis)
        width = inputs.shape[1]
        if self._constants.options.concat_output_tebd:
            own = self._types.detach()[self._layout.row_type]
            inputs = torch.cat([inputs, own], dim=1)
        self._own_inputs = inputs.shape[1]
        inputs = model.fitting_inputs(inputs, batch)
        (net,) = fitting_nets(model.config)
        self._nets = Nets(
            family=choose("fitting", model.device, model.dtype),
            layers=[net.layers(model.parameters.views)],
            activation=model.config.fitting.activation_function,
            shares=shares_of((0, len(inputs)), model.device),
        )
        self._passes, self._grad_input = descend(self._nets, inputs)
        self._grad_d = self._grad_input[:, :width].contiguous()
        self._grad_x = gram_adjoint(self._grad_d, x, axis=self._axis)
        grad = self._strip.edge_gradient(
            self._grad_x * self._scale,
            *self._where,
            self._constants.normal,
            self._tables,
        )
        force, virial = self._plain.assemble(
            grad, self._edges, self._layout, with_virial=with_virial
        )
        atom_energy = torch.empty(
            len(batch.atype), dtype=torch.float64, device=model.device
        )
        atom_energy[batch.atom_order] = energies(self._passes).double()
        atom_energy += self._constants.bias[batch.atype]
        energy = torch.zeros_like(batch.energy)
        self.prediction = Prediction(
            energy=energy.index_add_(0, batch.frame_idx, atom_energy),
            force=force,
            virial=virial,
            atom_energy=atom_energy,
        )
        """Energies, forces, virials."""

    def _adjoint(
        self,
        grad_x: Float[Tensor, "row 4 width"],
        rows_dot: Float[Tensor, "edge 4"],
        to_types: Float[Tensor, "row dim"],
        gradient: FlatParameters,
    ) -> None:
        """Write the gradients by the net of distances and by the nets of types."""
        scaled = grad_x * self._scale
        grads = scaled, self._grad_x * self._scale
        by_piece, by_share = self._strip.adjoint(
            grads, rows_dot, *self._where, self._tables
        )
        rows = self._constants.empty_rows
        if rows is not None:
            total = scaled.new_zeros(len(rows), *scaled.shape[1:])
            parts = scaled * self._empty_slots()[:, None, None]
            total.index_add_(0, self._layout.row_type, parts)
            to_value = (rows.unsqueeze(2) * total).sum(dim=1)
            parts = self._powers.unsqueeze(2) * to_value.unsqueeze(1)
            by_piece.index_add_(0, self._piece, parts)
        (found,) = self._makers.tables_adjoint(
            self._layers, self._name, self._grid, by_piece, tables=self._tables
        )
        outputs = [self._pairs]
        grads_out = [by_share[..., : self._channels].transpose(0, 1)]
        if self._constants.options.concat_output_tebd:
            outputs.append(self._types)
            by_type = torch.zeros_like(self._types)
            grads_out.append(by_type.index_add_(0, self._layout.row_type, to_types))
        (by_types,) = torch.autograd.grad(outputs, self._leaf, grads_out)
        gradient.flat.add_(by_types)
        for target, layer in zip(self._net.layers(gradient.views), found, strict=True):
            for place, value in zip(target, layer, strict=True):
                if place is not None:
                    place.copy_(value)


def _constants_of(model: DeepPotential) -> _Constants:
    """Return a model's constants, made once."""
    found = _CONSTANTS.get(model)
    if found is not None:
        return found
    options = model.config.descriptor
    if not isinstance(options, SeAttenConfig):
        raise ModelError(f"the descriptor is {options.type}; expected se_atten.")
    (part,) = model.parts
    normal = Normal(
        davg=part.davg,
        inverse_std=1 / part.dstd,
        mask=part.mask,
        rcut=options.rcut,
        rcut_smth=options.rcut_smth,
        protection=options.env_protection,
    )
    ntypes = model.config.ntypes
    _CONSTANTS[model] = found = _Constants(
        options=options,
        normal=normal,
        net=torch.zeros(ntypes, ntypes, dtype=torch.int64, device=model.device),
        empty_rows=part.empty_rows,
        bias=torch.as_tensor(model.statistics.energy_bias, device=model.device),
    )
    return found


def _make_grid(
    model: DeepPotential,
    constants: _Constants,
    shortest: Float64[Tensor, "type type"],
    intervals: int,
) -> Grid:
    """Span the table from the cutoff down to the shortest distance of each pair.

    It depends on model and batch alone, so that a run can be gone on with bit for bit.
    """
    options = constants.options
    unused = UNUSED_DISTANCE * options.rcut
    r = torch.nan_to_num(shortest, nan=unused).clamp(max=unused)
    r = (r / DISTANCE_STEP).floor().clamp(min=1) * DISTANCE_STEP
    mean, deviation = (
        torch.from_numpy(t[:, :1])
        for t in (model.statistics.davg, model.statistics.dstd)
    )
    w = switch_weight(r, rcut_smth=options.rcut_smth, rcut=options.rcut)
    nearest = (w / (r + options.env_protection) - mean) / deviation
    farthest = (-mean / deviation).expand_as(nearest)
    # A masked pair has s = 0 whatever its distance.
    ends = torch.cat([nearest.flatten(), farthest.flatten(), torch.zeros(1).double()])
    low, high = (t.reshape(1).to(model.device) for t in (ends.min(), ends.max()))
    if not math.isfinite(float(high)):
        raise ModelError("the environment rows of the batch are not finite.")
    return grid_for(low, high, pieces_for(float(high - low), intervals))


def _empty_places(
    grid: Grid, rows: Float[Tensor, "type 4"]
) -> tuple[Int64[Tensor, " type"], Float[Tensor, "type 6"]]:
    """Return the piece of s0 of each centre type, and the powers of its place."""
    at = (rows[:, 0].double() - grid.lower[0]) / grid.step[0]
    last = grid.first[1] - 1
    piece = torch.minimum(at.floor().long().clamp(min=0), last)
    powers = (at - piece).unsqueeze(1) ** torch.arange(6, device=at.device)
    return piece, powers.to(rows.dtype)
