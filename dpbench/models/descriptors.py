"""The kinds of descriptors behind one protocol, and the parts that a model has.

Every kind is two functions of one signature, in a file of its own: the way forward
from edges to D, and the way back from dE/dD to dE/dR. What the forward way leaves for
the way back is its own affair.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, final, runtime_checkable

import torch
from torch import Tensor

from dpbench.kernels.batch import Batch
from dpbench.kernels.embedding import Embed, embed
from dpbench.kernels.environment import Environment, environment
from dpbench.models.config import ModelConfig, part_configs
from dpbench.models.parameters import part_views
from dpbench.models.se_atten import strip_adjoint, strip_forward
from dpbench.models.se_e2_a import descriptor_adjoint, descriptor_forward
from dpbench.models.se_e2_r import radial_adjoint, radial_forward
from dpbench.models.statistics import ModelStatistics, pair_mask
from dpbench.shapes import Float


@runtime_checkable
class Evaluated(Protocol):
    """A descriptor evaluated forward."""

    @property
    def descriptor(self) -> Float[Tensor, "atom component"]:
        """D, atoms in the order of ``atom_order``."""
        ...


@runtime_checkable
class Forward(Protocol):
    """From edges to D."""

    def __call__(
        self,
        views: Mapping[str, Tensor],
        batch: Batch,
        env: Environment,
        config: ModelConfig,
        empty_rows: Tensor | None,
        *,
        embed: Embed = embed,
    ) -> Evaluated:
        """Evaluate the descriptor of every atom.

        Args:
            views: Parameters by name.
            batch: Frames and edges.
            env: Environment rows of the edges.
            config: The model, its descriptor of this kind.
            empty_rows: (type, 4), -davg/dstd; None where davg is zero.
            embed: Evaluates the embedding nets.
        """
        ...


Adjoint = Callable[[Any, Tensor, Environment, ModelConfig], Tensor]
"""From what Forward returned and dE/dD (atom, component) to dE/dR (edge, 4)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One kind of descriptor."""

    forward: Forward
    """From edges to D."""
    adjoint: Adjoint
    """From dE/dD to dE/dR."""
    no_fast_path: str | None
    """Why the analytic passes of training do not serve it; None where they do."""


_SE_ATTEN = Kind(forward=strip_forward, adjoint=strip_adjoint, no_fast_path=None)

KINDS: dict[str, Kind] = {
    "se_e2_a": Kind(
        forward=descriptor_forward, adjoint=descriptor_adjoint, no_fast_path=None
    ),
    "se_e2_r": Kind(
        forward=radial_forward,
        adjoint=radial_adjoint,
        no_fast_path="the table kernels do not know se_e2_r",
    ),
    "se_atten_v2": _SE_ATTEN,
    "se_atten": _SE_ATTEN,
    "dpa1": _SE_ATTEN,
}
"""Kinds by the ``type`` of their configuration; a hybrid is made of them."""


def no_fast_path(config: ModelConfig) -> str | None:
    """Say why the analytic passes do not train a model; None where they do.

    It trains through autograd then. Evaluation and dynamics have tables for
    ``se_e2_a`` alone, see ``compressed.untabulable``.
    """
    if len(config.descriptor.parts) != 1 or config.descriptor.type == "hybrid":
        return "the fast kernels do not know hybrid descriptors"
    if config.pair_table is not None:
        return "the fast kernels do not know the pair table that is mixed in"
    return KINDS[config.descriptor.type].no_fast_path


class PartPass(NamedTuple):
    """One part of a descriptor evaluated forward."""

    env: Environment
    """Rows of the edges."""
    done: Evaluated
    """What the kind left for the way back."""


@final
class DescriptorPart:
    """One descriptor of a model, with its statistics on the model's device."""

    def __init__(
        self, prefix: str, config: ModelConfig, davg: Tensor, dstd: Tensor
    ) -> None:
        """Set up the part.

        Args:
            prefix: How its parameters' names begin.
            config: The model with this part alone.
            davg: (type, 4), in the model's precision and on its device.
            dstd: (type, 4), likewise.
        """
        self.prefix, self.config = prefix, config
        self.davg, self.dstd = davg, dstd
        (self.options,) = config.descriptor.parts
        self.kind = KINDS[self.options.type]
        # With a zero mean an empty slot is a zero row: no padding term at all.
        self.empty_rows = -davg / dstd if bool((davg != 0).any()) else None
        self.mask: Tensor | None = None
        if self.options.exclude_types:
            self.mask = torch.as_tensor(pair_mask(config)).to(davg)

    def environment(self, batch: Batch) -> Environment:
        """Evaluate the rows of all edges; zero where the pair is excluded."""
        env = environment(
            batch.edge_vec,
            batch.atype[batch.edge_i],
            (self.davg, self.dstd),
            rcut=self.options.rcut,
            rcut_smth=self.options.rcut_smth,
            protection=self.options.env_protection,
        )
        if self.mask is None:
            return env
        return env._replace(rows=env.rows * self._edge_mask(self.mask, batch))

    def forward(
        self, views: Mapping[str, Tensor], batch: Batch, embed: Embed = embed
    ) -> PartPass:
        """Evaluate the part; differentiable by the parameters ``views``."""
        env = self.environment(batch)
        own = part_views(views, self.prefix)
        done = self.kind.forward(
            own, batch, env, self.config, self.empty_rows, embed=embed
        )
        return PartPass(env, done)

    def pull_back(
        self, found: PartPass, grad: Float[Tensor, "atom component"], batch: Batch
    ) -> Float[Tensor, "edge 3"]:
        """Turn dE/dD of this part into dE/dd of every edge, eV/Å."""
        grad_rows = self.kind.adjoint(found.done, grad, found.env, self.config)
        if self.mask is not None:
            grad_rows = grad_rows * self._edge_mask(self.mask, batch)
        return found.env.pull_back(grad_rows)

    @staticmethod
    def _edge_mask(mask: Tensor, batch: Batch) -> Float[Tensor, "edge 1"]:
        types = batch.atype[batch.edge_i], batch.atype[batch.edge_j]
        return mask[types].unsqueeze(1)


def descriptor_parts(
    config: ModelConfig,
    statistics: ModelStatistics,
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[DescriptorPart, ...]:
    """Set up the parts of a model's descriptor."""
    davg, dstd = (
        torch.as_tensor(array.reshape(-1, config.ntypes, 4)).to(device, dtype)
        for array in (statistics.davg, statistics.dstd)
    )
    return tuple(
        DescriptorPart(prefix, part, davg[index], dstd[index])
        for index, (prefix, part) in enumerate(part_configs(config))
    )
