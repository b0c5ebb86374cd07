"""The descriptor DeepPot-SE (``se_e2_a``): from edges to D, and from dE/dD back.

X_i = 1/sum(sel) [ sum_j G(s_ij) (x) R_ij + sum_t (sel_t - n_it) G_t(s0) (x) R0 ]
D_i = X_i^T X_i[:, :axis]

R_ij is the normalised environment row, s_ij its first number, G the embedding net of
the neighbour's type. The second sum is the padding: DeePMD-kit normalises empty slots
too, so each counts as the row R0 = -davg/dstd. An edge at the cutoff has that same row,
so neighbours enter and leave smoothly, and n_it may exceed sel_t.

Source:
    Zhang et al., End-to-end symmetry preserving inter-atomic potential energy model
    for finite and extended systems, NeurIPS 31 (2018).
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from dpbench.kernels.batch import Batch
from dpbench.kernels.contraction import EdgeRange, moments, row_gradient
from dpbench.kernels.embedding import embed
from dpbench.kernels.environment import Environment
from dpbench.kernels.layers import Layer, embed_value
from dpbench.models.config import ModelConfig
from dpbench.models.parameters import embedding_nets
from dpbench.shapes import Float


class Group(NamedTuple):
    """Edges that share an embedding net: one neighbour type, some centre types."""

    net: int
    """Index of the embedding net."""
    neighbour_type: int
    """Type of the neighbours."""
    atoms: slice
    """Rows of ``atom_order`` whose edges these are."""
    edges: slice
    """Rows of the per-edge arrays."""
    edge_range: EdgeRange
    """The edges by atom, counted from the start of both slices."""


class DescriptorPass(NamedTuple):
    """The descriptor evaluated forward, and what the way back needs."""

    x: Float[Tensor, "atom 4 M"]
    """Moments X, atoms in the order of ``atom_order``."""
    descriptor: Float[Tensor, "atom component"]
    """D, row-major (M, axis)."""
    groups: list[Group]
    """The groups of edges that were summed."""
    features: list[tuple[Tensor, Tensor]]
    """G and dG/ds of each group."""


def descriptor_forward(
    views: Mapping[str, Tensor],
    batch: Batch,
    env: Environment,
    config: ModelConfig,
    empty_rows: Float[Tensor, "type 4"] | None,
) -> DescriptorPass:
    """Evaluate the descriptor of every atom.

    Args:
        views: Parameters by name.
        batch: Frames and edges.
        env: Environment rows of the edges.
        config: The model.
        empty_rows: R0 = -davg/dstd per centre type; None where davg is zero.
    """
    nets = [net.layers(views) for net in embedding_nets(config)]
    name = config.descriptor.activation_function
    groups = list(edge_groups(batch, config))
    features = []
    blocks: dict[int, Tensor] = {}
    for group in groups:
        g, dg = embed(env.rows[group.edges, 0], nets[group.net], name)
        features.append((g, dg))
        part = moments(env.rows[group.edges], g, group.edge_range)
        start = group.atoms.start
        blocks[start] = blocks[start] + part if start in blocks else part
        if empty_rows is not None:
            blocks[start] = blocks[start] + _padding(
                group, batch, nets[group.net], config, empty_rows
            )
    x = torch.cat(list(blocks.values())) / sum(config.descriptor.sel)
    axis = x[:, :, : config.descriptor.axis_neuron]
    descriptor = (x.transpose(1, 2) @ axis).flatten(1)
    return DescriptorPass(x, descriptor, groups, features)


def descriptor_adjoint(
    done: DescriptorPass,
    grad: Float[Tensor, "atom component"],
    env: Environment,
    config: ModelConfig,
) -> Float[Tensor, "edge 4"]:
    """Turn dE/dD into dE/dR of every edge, that through G(s) included."""
    axis_neuron = config.descriptor.axis_neuron
    x = done.x
    grad_d = grad.view(len(x), x.shape[2], axis_neuron)
    grad_x = x[:, :, :axis_neuron] @ grad_d.transpose(1, 2)
    through_axis = x @ grad_d
    width = x.shape[2] - axis_neuron
    grad_x = grad_x + torch.nn.functional.pad(through_axis, (0, width))
    grad_x = grad_x / sum(config.descriptor.sel)
    parts: list[tuple[int, Tensor]] = []
    for group, features in zip(done.groups, done.features, strict=True):
        part = row_gradient(
            grad_x[group.atoms], env.rows[group.edges], features, group.edge_range
        )
        parts.append((group.edges.start, part))
    parts.sort(key=lambda part: part[0])
    return torch.cat([part for _, part in parts])


def edge_groups(batch: Batch, config: ModelConfig) -> Iterator[Group]:
    """Split the edges by embedding net; groups of one atom slice come together."""
    ntypes = config.ntypes
    natoms = len(batch.atype)
    if config.descriptor.type_one_side:
        for t in range(ntypes):
            yield _group(batch, t, net=t, atoms=slice(0, natoms), centre=(0, ntypes))
        return
    for centre in range(ntypes):
        first, last = batch.atom_type_offset[centre : centre + 2]
        for t in range(ntypes):
            net = centre + t * ntypes
            atoms = slice(first, last)
            yield _group(batch, t, net=net, atoms=atoms, centre=(centre, centre + 1))


def _group(
    batch: Batch, neighbour: int, *, net: int, atoms: slice, centre: tuple[int, int]
) -> Group:
    offset = batch.pair_offset[neighbour]
    edges = slice(offset[centre[0]], offset[centre[1]])
    starts = batch.row_offset[neighbour, atoms.start : atoms.stop + 1]
    edge_range = EdgeRange(
        starts=starts - edges.start,
        centres=batch.edge_row[edges] - atoms.start,
        most=batch.most_neighbours[neighbour],
    )
    return Group(net, neighbour, atoms, edges, edge_range)


def _padding(
    group: Group,
    batch: Batch,
    layers: list[Layer],
    config: ModelConfig,
    empty_rows: Float[Tensor, "type 4"],
) -> Float[Tensor, "atom 4 M"]:
    """Return (sel_t - n_it) R0 (x) G_t(s0) of each atom of the group."""
    name = config.descriptor.activation_function
    features = embed_value(empty_rows[:, 0], layers, name)
    per_type = empty_rows.unsqueeze(2) * features.unsqueeze(1)
    starts = group.edge_range.starts
    empty = config.descriptor.sel[group.neighbour_type] - (starts[1:] - starts[:-1])
    centre_type = batch.atype[batch.atom_order[group.atoms]]
    return per_type[centre_type] * empty.to(features.dtype)[:, None, None]
