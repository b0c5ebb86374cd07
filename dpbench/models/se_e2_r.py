"""The descriptor of distances alone (``se_e2_r``): from edges to D, and back.

D_i = 1/5 1/sum(sel) [ sum_j G(s_ij) + sum_t (sel_t - n_it) G_t(s0) ]

s_ij is the first number of the normalised environment row, G the embedding net of the
neighbour's type (or of the pair of types); the second sum is the padding, with
s0 = -davg/dstd. The fifth is DeePMD-kit's.

Source:
    DeePMD-kit documentation, "Descriptor se_e2_r".
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from dpbench.kernels.batch import Batch
from dpbench.kernels.embedding import Embed
from dpbench.kernels.embedding import embed as embed_exactly
from dpbench.kernels.environment import Environment
from dpbench.kernels.layers import embed_value
from dpbench.models.config import ModelConfig, SeE2RConfig
from dpbench.models.edge_groups import Group, groups_by_neighbour, groups_by_pair
from dpbench.models.parameters import embedding_nets
from dpbench.shapes import Float

RESCALE = 1 / 5
"""DeePMD-kit's constant factor of this descriptor."""


class RadialPass(NamedTuple):
    """The descriptor evaluated forward, and what the way back needs."""

    descriptor: Float[Tensor, "atom component"]
    """D, atoms in the order of ``atom_order``."""
    groups: list[Group]
    """The groups of edges that were summed."""
    slopes: list[Tensor]
    """dG/ds of each group."""


def radial_forward(
    views: Mapping[str, Tensor],
    batch: Batch,
    env: Environment,
    config: ModelConfig,
    empty_rows: Float[Tensor, "type 4"] | None,
    *,
    embed: Embed = embed_exactly,
) -> RadialPass:
    """Evaluate the descriptor of every atom; arguments as for ``se_e2_a``."""
    options = _options(config)
    nets = [net.layers(views) for net in embedding_nets(config)]
    name = options.activation_function
    by = groups_by_neighbour if options.type_one_side else groups_by_pair
    groups, slopes = list(by(batch)), []
    # An empty slot counts here even where its row is zero: G(0) is not.
    empty = env.rows.new_zeros(config.ntypes)
    if empty_rows is not None:
        empty = empty_rows[:, 0]
    total = env.rows.new_zeros(len(batch.atype), options.dim_descriptor)
    for group in groups:
        g, dg = embed(env.rows[group.edges, 0], nets[group.net], name)
        slopes.append(dg)
        total = total.index_add(0, batch.edge_row[group.edges], g)
        per_type = embed_value(empty, nets[group.net], name)
        starts = group.edge_range.starts
        count = options.sel[group.neighbour_type] - (starts[1:] - starts[:-1])
        rows = torch.arange(group.atoms.start, group.atoms.stop, device=total.device)
        padding = per_type[batch.atype[batch.atom_order[group.atoms]]]
        padding = padding * count.to(total.dtype)[:, None]
        total = total.index_add(0, rows, padding)
    return RadialPass(total * (RESCALE / options.slots), groups, slopes)


def radial_adjoint(
    done: RadialPass,
    grad: Float[Tensor, "atom component"],
    env: Environment,
    config: ModelConfig,
) -> Float[Tensor, "edge 4"]:
    """Turn dE/dD into dE/dR of every edge; only its first column is not zero."""
    grad = grad * (RESCALE / _options(config).slots)
    parts = []
    for group, slope in zip(done.groups, done.slopes, strict=True):
        centres = group.edge_range.centres + group.atoms.start
        radial = (grad.index_select(0, centres) * slope).sum(dim=1)
        parts.append((group.edges.start, radial))
    parts.sort(key=lambda part: part[0])
    first = torch.cat([part for _, part in parts]).unsqueeze(1)
    return torch.nn.functional.pad(first, (0, 3))


def _options(config: ModelConfig) -> SeE2RConfig:
    if not isinstance(config.descriptor, SeE2RConfig):
        raise TypeError(f"the descriptor is {config.descriptor.type}, not se_e2_r")
    return config.descriptor
