"""Edges of a batch for the four passes, with the embedding net evaluated at each."""

from typing import final

import torch
from torch import Tensor

from dpbench.kernels.batch import Batch
from dpbench.kernels.choice import choose
from dpbench.kernels.contraction import moments, row_gradient, spread
from dpbench.kernels.embedding import embed
from dpbench.kernels.layers import Layer, embed_value
from dpbench.kernels.passes import Edges
from dpbench.kernels.tables import Tables
from dpbench.models.config import se_e2_a_options
from dpbench.models.edge_features import constants_of, layout_of
from dpbench.models.edge_groups import Group, groups_by_neighbour, groups_by_pair
from dpbench.models.parameters import FlatParameters, embedding_nets
from dpbench.models.potential import DeepPotential
from dpbench.shapes import Float, Float64


@final
class ExactFeatures:
    """The moments of a batch, their tangent and adjoints, without tables.

    The nets' own adjoint is autograd's, of the nets alone: the graph holds no edge
    quantity but the features.
    """

    def __init__(self, model: DeepPotential, batch: Batch) -> None:
        """Evaluate the embedding nets at all edges."""
        self._constants = constants_of(model)
        self._layout = layout_of(batch, self._constants.net)
        self._batch = batch
        self._passes = choose("passes", model.device, model.dtype)
        self._edges: Edges = self._passes.prepare(
            batch.edge_vec,
            self._layout,
            self._constants.normal,
            _no_tables(int(self._constants.net.max()) + 1, model.parameters.flat),
        )
        config = se_e2_a_options(model.config)
        self.channels: int = config.neuron[-1]
        self._activation = config.activation_function
        self._nets = embedding_nets(model.config)
        one_sided = config.type_one_side
        self._groups = list(
            groups_by_neighbour(batch) if one_sided else groups_by_pair(batch)
        )
        self._leaves = FlatParameters(
            model.parameters.flat.detach().requires_grad_(True), model.parameters.shapes
        )
        with torch.enable_grad():
            views = self._leaves.unflatten(self._leaves.flat)
            self._layers = [net.layers(views) for net in self._nets]
            rows = self._edges.rows
            self._features = [
                embed(
                    rows[g.edges, 0].contiguous(), self._layers[g.net], self._activation
                )
                for g in self._groups
            ]
            self._padding = self._padding_moments()
        self._rows_dot: Tensor | None = None

    def moments(self) -> Float[Tensor, "row 4 width"]:
        """Return X of each row."""
        x = self._new_moments()
        for group, (value, _) in zip(self._groups, self._features, strict=True):
            rows = self._edges.rows[group.edges]
            x[group.atoms] += moments(rows, value.detach(), group.edge_range)
        for group, padding in zip(self._groups, self._padding, strict=True):
            x[group.atoms] += padding.detach()
        return x.mul_(self._constants.scale)

    def edge_gradient(
        self, grad_x: Float[Tensor, "row 4 width"]
    ) -> Float[Tensor, "edge 3"]:
        """Return dE/dd of each edge from dE/dX, eV/Å."""
        scaled = grad_x * self._constants.scale
        grad = torch.empty_like(self._edges.rows)
        for group, (value, slope) in zip(self._groups, self._features, strict=True):
            grad[group.edges] = row_gradient(
                scaled[group.atoms].contiguous(),
                self._edges.rows[group.edges],
                (value.detach(), slope.detach()),
                group.edge_range,
            )
        layout = self._layout
        inverse_std = self._constants.normal.inverse_std
        scaled = grad * inverse_std[layout.row_type[layout.edge_row]]
        h, df, dh = self._edges.radial.unbind(dim=1)
        vec, angular = self._edges.vec, scaled[:, 1:]
        radial = scaled[:, 0] * df + (angular * vec).sum(dim=1) * dh
        return angular * h.unsqueeze(1) + radial.unsqueeze(1) * vec

    def assemble(
        self, grad: Float[Tensor, "edge 3"], *, with_virial: bool
    ) -> tuple[Float64[Tensor, "atom 3"], Float64[Tensor, "frame 3 3"]]:
        """Return forces and virials."""
        force, virial = self._passes.assemble(
            grad, self._edges, self._layout, with_virial=with_virial
        )
        return force, virial

    def tangent(
        self,
        atom_dot: Float64[Tensor, "atom 3"],
        strain: Float64[Tensor, "frame 3 3"] | None,
    ) -> Float[Tensor, "row 4 width"]:
        """Return X' along a tangent of positions and cells."""
        dot = self._rows_dot = self._passes.tangent_rows(
            self._edges, self._layout, self._constants.normal, atom_dot, strain
        )
        by_slope = self._edges.rows * dot[:, :1]
        x = self._new_moments()
        for group, (value, slope) in zip(self._groups, self._features, strict=True):
            ranges = group.edge_range
            x[group.atoms] += moments(dot[group.edges], value.detach(), ranges)
            x[group.atoms] += moments(by_slope[group.edges], slope.detach(), ranges)
        return x.mul_(self._constants.scale)

    def adjoint(
        self,
        grad_x: Float[Tensor, "row 4 width"],
        grad_dot: Float[Tensor, "row 4 width"],
        gradient: FlatParameters,
    ) -> None:
        """Write the gradient by the embedding nets into ``gradient``."""
        if self._rows_dot is None:
            raise RuntimeError("adjoint needs a tangent first")
        scale = self._constants.scale
        to_x, to_dot = grad_x * scale, grad_dot * scale
        outputs: list[Tensor] = []
        grads: list[Tensor] = []
        for group, features in zip(self._groups, self._features, strict=True):
            rows, dot = self._edges.rows[group.edges], self._rows_dot[group.edges]
            ranges = group.edge_range
            here, there = (t[group.atoms].contiguous() for t in (to_x, to_dot))
            to_value = spread(rows, here, ranges) + spread(dot, there, ranges)
            outputs += features
            grads += [to_value, spread(rows, there, ranges) * dot[:, :1]]
        for group, padding in zip(self._groups, self._padding, strict=True):
            if padding.requires_grad:
                outputs.append(padding)
                grads.append(to_x[group.atoms])
        (found,) = torch.autograd.grad(
            outputs, self._leaves.flat, grads, allow_unused=True
        )
        if found is None:  # no edge at all
            found = torch.zeros_like(self._leaves.flat, requires_grad=False)
        views = gradient.unflatten(found)
        for net in self._nets:
            for name in net.shapes:
                gradient.views[name].copy_(views[name])

    def _new_moments(self) -> Float[Tensor, "row 4 width"]:
        rows = self._edges.rows
        return rows.new_zeros(len(self._layout.row_type), 4, self.channels)

    def _padding_moments(self) -> list[Tensor]:
        """Return what empty slots add to the moments of each group, differentiable."""
        empty_rows = self._constants.empty_rows
        if empty_rows is None:
            zero = self._edges.rows.new_zeros(())
            return [zero for _ in self._groups]
        return [
            self._group_padding(group, self._layers[group.net], empty_rows)
            for group in self._groups
        ]

    def _group_padding(
        self, group: Group, layers: list[Layer], empty_rows: Float[Tensor, "type 4"]
    ) -> Float[Tensor, "atom 4 M"]:
        features = embed_value(empty_rows[:, 0], layers, self._activation)
        per_type = empty_rows.unsqueeze(2) * features.unsqueeze(1)
        starts = group.edge_range.starts
        slots = self._constants.sel[group.neighbour_type]
        empty = slots - (starts[1:] - starts[:-1])
        centre_type = self._layout.row_type[group.atoms]
        return per_type[centre_type] * empty.to(features.dtype)[:, None, None]


def _no_tables(nnets: int, like: Tensor) -> Tables:
    """Return tables without pieces: ``prepare`` then gives places that nobody uses."""
    return Tables(
        lower=torch.zeros(nnets, dtype=torch.float64),
        step=torch.ones(nnets, dtype=torch.float64),
        first=torch.zeros(nnets + 1, dtype=torch.int64),
        coefficients=like.new_zeros(2 * nnets, 6, 1),
        width=0,
    )
