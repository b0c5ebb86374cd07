"""Energies, forces and the gradient of a loss on them, without an autograd graph.

P1  moments, descriptor, fitting net forward        -> energies
P2  back through net, descriptor and edges          -> forces, virials
P3  a tangent of the positions through P1           -> E', X', D'
P4  the reverse of eps E + E'                       -> gradient by the parameters

For a loss L with v = dL/dF and T = dL/dXi, take d'_e = v_i - v_j - d_e T as tangent of
the edge vectors: the change E' of the energy along it is v.F + T:Xi, hence the gradient
of sum eps E + E' is that of the loss. Nothing per edge is stored but its row.
"""

from dataclasses import dataclass, replace
from typing import Protocol, final, runtime_checkable

import torch
from torch import Tensor

from dpbench.kernels.batch import Batch
from dpbench.kernels.choice import choose
from dpbench.kernels.fitting.parts import Nets, adjoint, descend, energies, shares_of
from dpbench.kernels.passes.gram import (
    gram,
    gram_adjoint,
    gram_adjoint_tangent,
    gram_tangent,
)
from dpbench.models.config import se_e2_a_options
from dpbench.models.edge_features import constants_of
from dpbench.models.parameters import FlatParameters, fitting_nets
from dpbench.models.potential import DeepPotential, Prediction
from dpbench.shapes import Float, Float64


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputWeights:
    """Weights of a model's outputs in a scalar, e.g. the derivatives of a loss."""

    energy: Float64[Tensor, " frame"]
    """eps, by frame."""
    force: Float64[Tensor, "atom 3"]
    """v."""
    virial: Float64[Tensor, "frame 3 3"] | None
    """T; None for no weight."""


@runtime_checkable
class EdgeFeatures(Protocol):
    """The passes over edges for one batch and one set of parameters."""

    channels: int
    """Width of the embedding."""

    def moments(self) -> Tensor:
        """Return X of each row, (row, 4, width)."""

    def edge_gradient(self, grad_x: Tensor) -> Tensor:
        """Return dE/dd of each edge from dE/dX."""

    def assemble(self, grad: Tensor, *, with_virial: bool) -> tuple[Tensor, Tensor]:
        """Return forces and virials from dE/dd."""

    def tangent(self, atom_dot: Tensor, strain: Tensor | None) -> Tensor:
        """Return X' along a tangent of positions and cells."""

    def adjoint(
        self, grad_x: Tensor, grad_dot: Tensor, gradient: FlatParameters
    ) -> None:
        """Write the gradient by the embedding nets."""


@final
class FourPass:
    """One evaluation of a model on a batch, and the gradients that follow from it."""

    def __init__(
        self,
        model: DeepPotential,
        batch: Batch,
        features: EdgeFeatures,
        *,
        with_virial: bool,
    ) -> None:
        """Run P1 and P2.

        Args:
            model: The model; its parameters must not change as long as this is used.
            batch: Frames on the model's device and in its precision.
            features: The batch's edges, for the same parameters.
            with_virial: Whether the virial is wanted; else it is zero.
        """
        self._model, self._batch, self._features = model, batch, features
        self._axis = se_e2_a_options(model.config).axis_neuron
        self._x = features.moments()
        descriptor = gram(self._x, self._x, channels=features.channels, axis=self._axis)
        self._nets = self._fitting_nets()
        inputs = model.fitting_inputs(descriptor, batch)
        # Numbers of frames and atoms: they stay where atoms move.
        self._extra = inputs.shape[1] - descriptor.shape[1]
        self._passes, grad = descend(self._nets, inputs)
        self._grad_d = grad[:, : descriptor.shape[1]]
        self._grad_x = gram_adjoint(self._grad_d, self._x, axis=self._axis)
        force, virial = features.assemble(
            features.edge_gradient(self._grad_x), with_virial=with_virial
        )
        self.prediction = self._predict(force, virial)
        """Energies, forces, virials."""

    def gradient(self, weights: OutputWeights) -> Float[Tensor, " parameter"]:
        """Run P3 and P4: the gradient of eps.E + v.F + T:Xi by all parameters."""
        model, batch = self._model, self._batch
        # Not of zeros: each part is written once, by the nets that it belongs to.
        gradient = FlatParameters(
            torch.empty_like(model.parameters.flat), model.parameters.shapes
        )
        axis, channels = self._axis, self._features.channels
        x = self._x
        x_dot = self._features.tangent(-weights.force, weights.virial)
        descriptor_dot = gram_tangent(x, x_dot, channels=channels, axis=axis)
        eps = weights.energy[batch.frame_idx[batch.atom_order]].to(x.dtype)
        nets = fitting_nets(model.config)
        targets = [net.layers(gradient.views) for net in nets]
        width = descriptor_dot.shape[1]
        if self._extra:
            pad = (0, self._extra)
            descriptor_dot = torch.nn.functional.pad(descriptor_dot, pad)
        change = adjoint(self._nets, self._passes, descriptor_dot, eps, targets)
        grad_x = gram_adjoint_tangent(
            (self._grad_d, change[:, :width]),
            (x, x_dot),
            eps,
            self._grad_x,
            axis=axis,
        )
        self._features.adjoint(grad_x, self._grad_x, gradient)
        return gradient.flat

    def _fitting_nets(self) -> Nets:
        """Return the fitting nets, and which thread does which rows."""
        model = self._model
        nets = fitting_nets(model.config)
        return Nets(
            family=choose("fitting", model.device, model.dtype),
            layers=[net.layers(model.parameters.views) for net in nets],
            activation=model.config.fitting.activation_function,
            shares=shares_of(self._batch.atom_type_offset, model.device),
        )

    def _predict(self, force: Tensor, virial: Tensor) -> Prediction:
        batch = self._batch
        by_row = energies(self._passes).double()
        atom_energy = torch.empty_like(by_row)
        atom_energy[batch.atom_order] = by_row
        atom_energy += constants_of(self._model).bias[batch.atype]
        energy = torch.zeros_like(batch.energy)
        return Prediction(
            energy=energy.index_add_(0, batch.frame_idx, atom_energy),
            force=force,
            virial=virial,
            atom_energy=atom_energy,
        )


def without_virial(weights: OutputWeights) -> OutputWeights:
    """Return the weights with none on the virial."""
    return replace(weights, virial=None)
