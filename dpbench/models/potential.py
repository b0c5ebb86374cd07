"""The Deep Potential: energy, forces and virial of frames."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from dpbench.kernels.batch import Batch
from dpbench.kernels.environment import Environment, environment
from dpbench.kernels.layers import fit, fit_adjoint
from dpbench.models.config import ModelConfig
from dpbench.models.parameters import (
    DTYPES,
    FlatParameters,
    draw_parameters,
    fitting_nets,
)
from dpbench.models.se_e2_a import descriptor_adjoint, descriptor_forward
from dpbench.models.statistics import ModelStatistics, pair_mask
from dpbench.shapes import Float, Float64


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """What a potential says about a batch; float64 whatever the model's precision."""

    energy: Float64[Tensor, " frame"]
    """eV."""
    force: Float64[Tensor, "atom 3"]
    """-dE/dcoord, eV/Å."""
    virial: Float64[Tensor, "frame 3 3"]
    """-dE/dstrain, eV."""
    atom_energy: Float64[Tensor, " atom"]
    """Share of each atom in the energy, eV; atoms in the batch's order."""


@final
class DeepPotential:
    """A Deep Potential with descriptor ``se_e2_a`` and energy fitting."""

    def __init__(
        self,
        config: ModelConfig,
        parameters: FlatParameters,
        statistics: ModelStatistics,
    ) -> None:
        """Put a model together; ``parameters`` decide its device and precision."""
        self.config = config
        self.parameters = parameters
        self.statistics = statistics
        device, dtype = parameters.flat.device, parameters.flat.dtype
        self._davg = torch.as_tensor(statistics.davg, device=device, dtype=dtype)
        self._dstd = torch.as_tensor(statistics.dstd, device=device, dtype=dtype)
        self._bias = torch.as_tensor(statistics.energy_bias, device=device)
        # With a zero mean an empty slot is a zero row: no padding term at all.
        has_padding = bool((statistics.davg != 0).any())
        self._empty_rows = -self._davg / self._dstd if has_padding else None
        self._mask: Tensor | None = None
        if config.descriptor.exclude_types:
            mask = pair_mask(config)
            self._mask = torch.as_tensor(mask, device=device, dtype=dtype)

    @classmethod
    def initialise(
        cls,
        config: ModelConfig,
        statistics: ModelStatistics,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> "DeepPotential":
        """Make a model with random start values.

        Args:
            config: The model.
            statistics: davg, dstd and energy bias of the training data.
            seed: Seed of the start values, where the config names none.
            device: Where the model shall lie.
        """
        parameters = draw_parameters(config, seed)
        if torch.device(device).type != "cpu":
            parameters = parameters.to(device, DTYPES[config.precision])
        return cls(config, parameters, statistics)

    @property
    def type_map(self) -> tuple[str, ...]:
        """Elements, in the order of type indices."""
        return self.config.type_map

    @property
    def rcut(self) -> float:
        """Cutoff radius, Å."""
        return self.config.descriptor.rcut

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return self.parameters.flat.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the nets."""
        return self.parameters.flat.dtype

    def to(
        self, device: torch.device | str, dtype: torch.dtype | None = None
    ) -> "DeepPotential":
        """Return a copy on ``device``, in ``dtype`` where one is given."""
        dtype = self.dtype if dtype is None else dtype
        config = replace(
            self.config,
            precision="float64" if dtype == torch.float64 else "float32",
        )
        return DeepPotential(config, self.parameters.to(device, dtype), self.statistics)

    def energy_and_forces(self, batch: Batch) -> Prediction:
        """Evaluate a batch; nothing is recorded for differentiation."""
        with torch.inference_mode():
            return self.evaluate(self.parameters.views, batch)

    def evaluate(
        self,
        views: Mapping[str, Tensor],
        batch: Batch,
        *,
        with_virial: bool = True,
    ) -> Prediction:
        """Evaluate a batch with any parameters; differentiable by them.

        Forces are computed explicitly, not by autograd: descriptor and fitting net
        run forward, then back.

        Args:
            views: Parameters by name, e.g. ``parameters.views``.
            batch: Frames on the device and in the precision of the model.
            with_virial: Whether the virial is wanted; else it is zero.
        """
        env = self._environment(batch)
        done = descriptor_forward(views, batch, env, self.config, self._empty_rows)
        sorted_energy, grad_d = self._fit(views, batch, done.descriptor)
        grad_rows = descriptor_adjoint(done, grad_d, env, self.config)
        if self._mask is not None:
            grad_rows = grad_rows * self._edge_mask(batch)
        grad_vec = env.pull_back(grad_rows).double()
        atom_energy = torch.zeros_like(sorted_energy)
        atom_energy = atom_energy.index_copy(0, batch.atom_order, sorted_energy)
        atom_energy = atom_energy + self._bias[batch.atype]
        energy = torch.zeros_like(batch.energy)
        force = torch.zeros_like(batch.force)
        virial = torch.zeros_like(batch.virial)
        force = force.index_add(0, batch.edge_i, grad_vec)
        return Prediction(
            energy=energy.index_add(0, batch.frame_idx, atom_energy),
            force=force.index_add(0, batch.edge_j, grad_vec, alpha=-1),
            virial=_virial(batch, grad_vec) if with_virial else virial,
            atom_energy=atom_energy,
        )

    def _environment(self, batch: Batch) -> Environment:
        descriptor = self.config.descriptor
        env = environment(
            batch.edge_vec,
            batch.atype[batch.edge_i],
            (self._davg, self._dstd),
            rcut=descriptor.rcut,
            rcut_smth=descriptor.rcut_smth,
            protection=descriptor.env_protection,
        )
        if self._mask is None:
            return env
        return env._replace(rows=env.rows * self._edge_mask(batch))

    def _edge_mask(self, batch: Batch) -> Float[Tensor, "edge 1"]:
        """Return zero for edges between excluded types, else one."""
        if self._mask is None:
            raise RuntimeError("no pair of types is excluded")
        types = batch.atype[batch.edge_i], batch.atype[batch.edge_j]
        return self._mask[types].unsqueeze(1)

    def _fit(
        self, views: Mapping[str, Tensor], batch: Batch, descriptor: Tensor
    ) -> tuple[Float64[Tensor, " atom"], Float[Tensor, "atom component"]]:
        """Return the nets' energies and dE/dD, both in ``atom_order``."""
        name = self.config.fitting.activation_function
        energies, grads = [], []
        for index, net in enumerate(fitting_nets(self.config)):
            first, last = batch.atom_type_offset[index : index + 2]
            layers = net.layers(views)
            done = fit(descriptor[first:last], layers, name)
            energies.append(done.energy)
            grads.append(fit_adjoint(done, layers, name))
        return torch.cat(energies).double(), torch.cat(grads)


def _virial(
    batch: Batch, grad_vec: Float64[Tensor, "edge 3"]
) -> Float64[Tensor, "frame 3 3"]:
    """Return -sum d (x) dE/dd of each frame, eV."""
    edge_vec = batch.edge_vec.double()
    if batch.nframes == 1:
        return -(edge_vec.T @ grad_vec).unsqueeze(0)
    outer = edge_vec.unsqueeze(2) * grad_vec.unsqueeze(1)
    virial = torch.zeros_like(batch.virial)
    frame_idx = batch.frame_idx[batch.edge_i]
    return virial.index_add(0, frame_idx, outer, alpha=-1)
