"""The Deep Potential: energy, forces and virial of frames."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from dpbench.kernels.batch import Batch
from dpbench.kernels.embedding import Embed, embed
from dpbench.kernels.environment import Environment
from dpbench.kernels.layers import fit, fit_adjoint
from dpbench.models.config import ModelConfig
from dpbench.models.descriptors import DescriptorPart, descriptor_parts
from dpbench.models.frame_parameters import FrameParameters
from dpbench.models.pair_table import Mixture, PairTable
from dpbench.models.parameters import (
    DTYPES,
    FlatParameters,
    draw_parameters,
    fitting_nets,
)
from dpbench.models.statistics import ModelStatistics
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
    extended: int = 0
    """Edges shorter than the tables of a compressed model reach."""


@final
class DeepPotential:
    """A Deep Potential: a descriptor of any kind, and energy fitting."""

    def __init__(
        self,
        config: ModelConfig,
        parameters: FlatParameters,
        statistics: ModelStatistics,
    ) -> None:
        """Put a model together; ``parameters`` decide its device and precision.

        Raises:
            ModelError: If ``statistics`` do not fit ``config``.
        """
        statistics.check(config)
        self.config = config
        self.parameters = parameters
        self.statistics = statistics
        device, dtype = parameters.flat.device, parameters.flat.dtype
        self._bias = torch.as_tensor(statistics.energy_bias, device=device)
        self._parts = descriptor_parts(config, statistics, device=device, dtype=dtype)
        self._inputs = FrameParameters(
            config.fitting, statistics, device=device, dtype=dtype
        )
        self._table: PairTable | None = None
        if config.pair_table is not None and statistics.pair_table is not None:
            self._table = PairTable(
                config.pair_table,
                statistics.pair_table,
                rcut=config.descriptor.rcut,
                device=device,
            )
        # Of the first part; the fast engines serve descriptors of one part.
        first = self._parts[0]
        self._davg, self._dstd = first.davg, first.dstd
        self._empty_rows, self._mask = first.empty_rows, first.mask

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
    def parts(self) -> tuple[DescriptorPart, ...]:
        """The parts of the descriptor, with their statistics on the device."""
        return self._parts

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

    def with_fparam(self, values: Sequence[float]) -> "DeepPotential":
        """Return the model for frames of these numbers, e.g. one temperature.

        They are what a batch without numbers of its own has, such as that of the ASE
        calculator.

        Args:
            values: As many as ``config.fitting.numb_fparam``.

        Raises:
            ConfigError: If there are more or fewer.
        """
        fitting = replace(self.config.fitting, default_fparam=tuple(values))
        config = replace(self.config, fitting=fitting)
        return DeepPotential(config, self.parameters, self.statistics)

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
        embed: Embed = embed,
    ) -> Prediction:
        """Evaluate a batch with any parameters; differentiable by them.

        Forces are computed explicitly, not by autograd: descriptor and fitting net
        run forward, then back.

        Args:
            views: Parameters by name, e.g. ``parameters.views``.
            batch: Frames on the device and in the precision of the model.
            with_virial: Whether the virial is wanted; else it is zero.
            embed: Evaluates the embedding nets, exactly or by a table.
        """
        found = [part.forward(views, batch, embed) for part in self._parts]
        widths = [one.done.descriptor.shape[1] for one in found]
        descriptor = torch.cat([one.done.descriptor for one in found], dim=1)
        sorted_energy, grad_d = self._fit(views, batch, descriptor)
        mixture = None if self._table is None else self._table.mix(batch)
        if mixture is not None:
            share = mixture.share[batch.atom_order].to(grad_d.dtype)
            grad_d = grad_d * (1 - share).unsqueeze(1)
        grad_vec = torch.zeros_like(batch.edge_vec)
        pieces = torch.split(grad_d[:, : sum(widths)], widths, dim=1)
        for part, one, piece in zip(self._parts, found, pieces, strict=True):
            grad_vec = grad_vec + part.pull_back(one, piece, batch)
        grad_vec = grad_vec.double()
        atom_energy = torch.zeros_like(sorted_energy)
        atom_energy = atom_energy.index_copy(0, batch.atom_order, sorted_energy)
        if mixture is not None:
            atom_energy, grad_vec = _mixed(batch, mixture, atom_energy, grad_vec)
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

    def fitting_inputs(
        self, descriptor: Float[Tensor, "atom component"], batch: Batch
    ) -> Float[Tensor, "atom input"]:
        """Put the numbers of frames and atoms behind the descriptor, in ``atom_order``.

        Raises:
            ModelError: If the batch lacks numbers that the model needs.
        """
        return self._inputs.append(descriptor, batch)

    def _environment(self, batch: Batch) -> Environment:
        return self._parts[0].environment(batch)

    def _fit(
        self, views: Mapping[str, Tensor], batch: Batch, descriptor: Tensor
    ) -> tuple[Float64[Tensor, " atom"], Float[Tensor, "atom input"]]:
        """Return the nets' energies and dE/dinput, both in ``atom_order``.

        The first columns of the input are the descriptor.
        """
        name = self.config.fitting.activation_function
        inputs = self.fitting_inputs(descriptor, batch)
        nets = fitting_nets(self.config)
        offset = batch.atom_type_offset
        if self.config.descriptor.mixed_types:
            offset = (offset[0], offset[-1])
        energies, grads = [], []
        for index, net in enumerate(nets):
            first, last = offset[index : index + 2]
            layers = net.layers(views)
            done = fit(inputs[first:last], layers, name)
            energies.append(done.energy)
            grads.append(fit_adjoint(done, layers, name))
        return torch.cat(energies).double(), torch.cat(grads)


def _mixed(
    batch: Batch,
    mixture: Mixture,
    net_energy: Float64[Tensor, " atom"],
    grad_vec: Float64[Tensor, "edge 3"],
) -> tuple[Float64[Tensor, " atom"], Float64[Tensor, "edge 3"]]:
    """Mix the table in; ``grad_vec`` is weighted with the net's share already."""
    gap = mixture.energy - net_energy
    by_length = mixture.share[batch.edge_i] * mixture.energy_slope
    by_length = by_length + mixture.share_slope * gap[batch.edge_i]
    return (
        net_energy + mixture.share * gap,
        grad_vec + by_length.unsqueeze(1) * mixture.direction,
    )


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
