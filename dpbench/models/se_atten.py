"""DPA-1 without attention layers, types in strip mode: from edges to D, and back.

X_i = 1/sum(sel) [ sum_j G_ij (x) R_ij + (sum(sel) - n_i) G_s(s0) (x) R0 ]
G_ij = G_s(s_ij) (1 + w_ij G_t(T_j, T_i))
D_i = X_i^T X_i[:, :axis], then T_i where the output is concatenated

T is the embedding of a type, G_t a net of embedded types (of the neighbour's alone
where it is one-sided), w the switching function, or one where the type embedding is
not smoothed. An empty slot has w = 0. All types share G_s: there are no nets a pair.

For a given centre type, s and w are both functions of the distance, so w enters the
way back as part of dG/ds, with dw/ds = (dw/dr) / (ds/dr).

Source:
    Zhang et al., DPA-1: Pretraining of attention-based Deep Potential model, npj
    Computational Materials 10, 94 (2024); DeePMD-kit documentation, "se_atten".
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from dpbench.kernels.batch import Batch
from dpbench.kernels.contraction import moments, row_gradient
from dpbench.kernels.embedding import Embed
from dpbench.kernels.embedding import embed as embed_exactly
from dpbench.kernels.embedding.type_share import with_types
from dpbench.kernels.environment import Environment
from dpbench.kernels.layers import Layer, embed_value, net_value
from dpbench.kernels.switch import switch_slope, switch_weight
from dpbench.models.config import ModelConfig, SeAttenConfig
from dpbench.models.edge_groups import Group, groups_by_neighbour
from dpbench.models.parameters import embedding_nets, type_nets
from dpbench.models.se_e2_a import gram, gram_adjoint
from dpbench.shapes import Float


class StripPass(NamedTuple):
    """The descriptor evaluated forward, and what the way back needs."""

    x: Float[Tensor, "atom 4 M"]
    """Moments X, atoms in the order of ``atom_order``."""
    descriptor: Float[Tensor, "atom component"]
    """D, row-major (M, axis), then the type's embedding."""
    groups: list[Group]
    """The groups of edges that were summed."""
    features: list[tuple[Tensor, Tensor]]
    """G and dG/ds of each group."""


def strip_forward(
    views: Mapping[str, Tensor],
    batch: Batch,
    env: Environment,
    config: ModelConfig,
    empty_rows: Float[Tensor, "type 4"] | None,
    *,
    embed: Embed = embed_exactly,
) -> StripPass:
    """Evaluate the descriptor of every atom; arguments as for ``se_e2_a``."""
    options = _options(config)
    layers = embedding_nets(config)[0].layers(views)
    types, pairs = embedded_types(views, options, config.ntypes)
    found = embed(env.rows[:, 0].contiguous(), layers, options.activation_function)
    pair = batch.atype[batch.edge_j] * config.ntypes + batch.atype[batch.edge_i]
    found = with_types(found, _weights(env, options), pairs.flatten(0, 1), pair)
    groups = list(groups_by_neighbour(batch))
    sizes = [group.edges.stop - group.edges.start for group in groups]
    # Split, not sliced: the way back then writes each gradient once.
    values, slopes = (torch.split(part, sizes) for part in found)
    features = list(zip(values, slopes, strict=True))
    x = env.rows.new_zeros(len(batch.atype), 4, options.neuron[-1])
    for group, value in zip(groups, values, strict=True):
        x = x + moments(env.rows[group.edges], value, group.edge_range)
    if empty_rows is not None:
        x = x + _padding(batch, layers, options, empty_rows)
    x = x / options.slots
    descriptor = gram(x, options.axis_neuron)
    if options.concat_output_tebd:
        own = types.index_select(0, batch.atype[batch.atom_order])
        descriptor = torch.cat([descriptor, own], dim=1)
    return StripPass(x, descriptor, groups, features)


def strip_adjoint(
    done: StripPass,
    grad: Float[Tensor, "atom component"],
    env: Environment,
    config: ModelConfig,
) -> Float[Tensor, "edge 4"]:
    """Turn dE/dD into dE/dR of every edge, that through G and w included."""
    options = _options(config)
    plain = grad[:, : options.neuron[-1] * options.axis_neuron]
    grad_x = gram_adjoint(done.x, plain, options.axis_neuron) / options.slots
    parts = []
    for group, features in zip(done.groups, done.features, strict=True):
        rows = env.rows[group.edges]
        parts.append(row_gradient(grad_x, rows, features, group.edge_range))
    return torch.cat(parts)


def embedded_types(
    views: Mapping[str, Tensor], options: SeAttenConfig, ntypes: int
) -> tuple[Float[Tensor, "type dim"], Float[Tensor, "neighbour centre M"]]:
    """Return the embedding T of each type, and G_t of each pair of types.

    Args:
        views: Parameters by name.
        options: The descriptor.
        ntypes: Number of types.
    """
    type_net, strip_net = type_nets(options, ntypes)
    first = type_net.layers(views)
    one_hot = torch.eye(ntypes, dtype=first[0].w.dtype, device=first[0].w.device)
    types = net_value(one_hot, first, "linear")
    inputs = types
    if not options.type_one_side:
        neighbour = types.repeat_interleave(ntypes, dim=0)
        inputs = torch.cat([neighbour, types.repeat(ntypes, 1)], dim=1)
    name = options.activation_function
    found = net_value(inputs, strip_net.layers(views), name)
    if options.type_one_side:
        return types, found.unsqueeze(1).expand(-1, ntypes, -1)
    return types, found.view(ntypes, ntypes, -1)


def _weights(
    env: Environment, options: SeAttenConfig
) -> tuple[Float[Tensor, " edge"], Float[Tensor, " edge"]]:
    """Return w of each edge and dw/ds; one and zero where nothing is smoothed."""
    r = torch.linalg.vector_norm(env.edge_vec, dim=1)
    if not options.smooth_type_embedding:
        return torch.ones_like(r), torch.zeros_like(r)
    radii = {"rcut_smth": options.rcut_smth, "rcut": options.rcut}
    weight, slope = switch_weight(r, **radii), switch_slope(r, **radii)
    radial = env.df * env.inverse_std[:, 0] * r
    # Beyond the cutoff both are zero, and so is their share in the gradient.
    safe = torch.where(radial == 0, 1.0, radial)
    return weight, torch.where(radial == 0, 0.0, slope / safe)


def _padding(
    batch: Batch,
    layers: list[Layer],
    options: SeAttenConfig,
    empty_rows: Float[Tensor, "type 4"],
) -> Float[Tensor, "atom 4 M"]:
    """Return (sum(sel) - n_i) R0 (x) G_s(s0) of each atom."""
    features = embed_value(empty_rows[:, 0], layers, options.activation_function)
    per_type = empty_rows.unsqueeze(2) * features.unsqueeze(1)
    offset = batch.row_offset
    empty = options.slots - (offset[:, 1:] - offset[:, :-1]).sum(dim=0)
    centre_type = batch.atype[batch.atom_order]
    return per_type[centre_type] * empty.to(features.dtype)[:, None, None]


def _options(config: ModelConfig) -> SeAttenConfig:
    if not isinstance(config.descriptor, SeAttenConfig):
        raise TypeError(f"the descriptor is {config.descriptor.type}, not se_atten")
    return config.descriptor
