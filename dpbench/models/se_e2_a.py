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
from dpbench.kernels.contraction import moments, row_gradient
from dpbench.kernels.embedding import Embed
from dpbench.kernels.embedding import embed as embed_exactly
from dpbench.kernels.environment import Environment
from dpbench.kernels.layers import Layer, embed_value
from dpbench.models.config import ModelConfig, se_e2_a_options
from dpbench.models.edge_groups import Group, groups_by_neighbour, groups_by_pair
from dpbench.models.parameters import embedding_nets
from dpbench.shapes import Float


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
    *,
    embed: Embed = embed_exactly,
) -> DescriptorPass:
    """Evaluate the descriptor of every atom.

    Args:
        views: Parameters by name.
        batch: Frames and edges.
        env: Environment rows of the edges.
        config: The model.
        empty_rows: R0 = -davg/dstd per centre type; None where davg is zero.
        embed: Evaluates the embedding nets.
    """
    nets = [net.layers(views) for net in embedding_nets(config)]
    options = se_e2_a_options(config)
    name = options.activation_function
    groups = list(edge_groups(batch, config))
    features = []
    # By both ends: a type without atoms begins where the next one begins.
    blocks: dict[tuple[int, int], Tensor] = {}
    for group in groups:
        g, dg = embed(env.rows[group.edges, 0], nets[group.net], name)
        features.append((g, dg))
        part = moments(env.rows[group.edges], g, group.edge_range)
        if empty_rows is not None:
            part = part + _padding(group, batch, nets[group.net], config, empty_rows)
        atoms = (group.atoms.start, group.atoms.stop)
        blocks[atoms] = blocks[atoms] + part if atoms in blocks else part
    x = torch.cat(list(blocks.values())) / sum(options.sel)
    return DescriptorPass(x, gram(x, options.axis_neuron), groups, features)


def descriptor_adjoint(
    done: DescriptorPass,
    grad: Float[Tensor, "atom component"],
    env: Environment,
    config: ModelConfig,
) -> Float[Tensor, "edge 4"]:
    """Turn dE/dD into dE/dR of every edge, that through G(s) included."""
    options = se_e2_a_options(config)
    grad_x = gram_adjoint(done.x, grad, options.axis_neuron) / sum(options.sel)
    parts: list[tuple[int, Tensor]] = []
    for group, features in zip(done.groups, done.features, strict=True):
        part = row_gradient(
            grad_x[group.atoms], env.rows[group.edges], features, group.edge_range
        )
        parts.append((group.edges.start, part))
    parts.sort(key=lambda part: part[0])
    return torch.cat([part for _, part in parts])


def gram(
    x: Float[Tensor, "atom 4 M"], axis_neuron: int
) -> Float[Tensor, "atom component"]:
    """Return X^T X[:, :axis] of each atom, row-major."""
    return (x.transpose(1, 2) @ x[:, :, :axis_neuron]).flatten(1)


def gram_adjoint(
    x: Float[Tensor, "atom 4 M"],
    grad: Float[Tensor, "atom component"],
    axis_neuron: int,
) -> Float[Tensor, "atom 4 M"]:
    """Turn the gradient of ``gram`` into that of X."""
    grad_d = grad.view(len(x), x.shape[2], axis_neuron)
    grad_x = x[:, :, :axis_neuron] @ grad_d.transpose(1, 2)
    width = x.shape[2] - axis_neuron
    return grad_x + torch.nn.functional.pad(x @ grad_d, (0, width))


def edge_groups(batch: Batch, config: ModelConfig) -> Iterator[Group]:
    """Split the edges by embedding net; groups of one atom slice come together."""
    if se_e2_a_options(config).type_one_side:
        return groups_by_neighbour(batch)
    return groups_by_pair(batch)


def _padding(
    group: Group,
    batch: Batch,
    layers: list[Layer],
    config: ModelConfig,
    empty_rows: Float[Tensor, "type 4"],
) -> Float[Tensor, "atom 4 M"]:
    """Return (sel_t - n_it) R0 (x) G_t(s0) of each atom of the group."""
    options = se_e2_a_options(config)
    features = embed_value(empty_rows[:, 0], layers, options.activation_function)
    per_type = empty_rows.unsqueeze(2) * features.unsqueeze(1)
    starts = group.edge_range.starts
    empty = options.sel[group.neighbour_type] - (starts[1:] - starts[:-1])
    centre_type = batch.atype[batch.atom_order[group.atoms]]
    return per_type[centre_type] * empty.to(features.dtype)[:, None, None]
