"""The training seam: losses and gradients of a batch, by one of four engines.

``table``     analytic passes; the embedding nets are tabulated anew each step
``exact``     the same passes with the embedding net evaluated at every edge
``autograd``  forces explicit, the loss differentiated by autograd: the reference
``autograd-table``  the same with tabulated embedding nets, for models without passes

The trainer never calls ``backward``. ``choose_engine`` takes the fastest that serves
the model, and says why another one does not.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from dpbench.errors import ConfigError
from dpbench.kernels.batch import Batch
from dpbench.kernels.embedding import Embed, embed, embed_by_table
from dpbench.models.config import ModelConfig, SeAttenConfig
from dpbench.models.descriptors import no_fast_path
from dpbench.models.edge_features import INTERVALS, TableFeatures
from dpbench.models.exact_features import ExactFeatures
from dpbench.models.four_pass import EdgeFeatures, FourPass, OutputWeights
from dpbench.models.potential import DeepPotential, Prediction
from dpbench.models.strip_pass import StripPass
from dpbench.shapes import Float, Float64
from dpbench.train.loss import (
    LabelCounts,
    LossTerms,
    Prefactors,
    loss_terms,
    score,
)

__all__ = [
    "Engine",
    "LabelCounts",
    "OutputWeights",
    "Prefactors",
    "StepResult",
    "choose_engine",
    "losses",
    "losses_and_gradients",
]

ENGINE = "autograd"
"""Name of the reference engine, for records of runs that do not choose one."""

EngineName = Literal["auto", "table", "exact", "autograd", "autograd-table"]
"""Names of engines in a configuration."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepResult:
    """Loss, errors and gradient of a batch, as tensors: nothing waits for a GPU."""

    loss: Float64[Tensor, ""]
    """L."""
    mse_energy: Float64[Tensor, ""]
    """Mean of ((E - E*) / N)^2, eV^2; NaN without label."""
    mse_force: Float64[Tensor, ""]
    """Mean of (F - F*)^2 over components, (eV/Å)^2; NaN without label."""
    mse_virial: Float64[Tensor, ""]
    """Mean of ((Xi - Xi*) / N)^2 over components, eV^2; NaN without label, and where
    the virial has no prefactor, because it is not computed then."""
    gradient: Float[Tensor, " parameter"]
    """dL/dparameters, in the layout of ``model.parameters.flat``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """One way to get the gradient of a batch."""

    name: str
    """``table``, ``exact``, ``autograd`` or ``autograd-table``."""
    reason: str | None = None
    """Why a faster engine does not serve, where that was not the user's choice."""
    intervals: int = INTERVALS
    """Pieces of each table."""

    def losses_and_gradients(
        self,
        model: DeepPotential,
        batch: Batch,
        prefactors: Prefactors,
        *,
        counts: LabelCounts | None = None,
    ) -> StepResult:
        """Evaluate the loss of a batch and its gradient by all parameters.

        Args:
            model: The model; its parameters are read, never changed.
            batch: Frames on the model's device and in its precision.
            prefactors: Weights of the loss terms at this step.
            counts: Numbers of labels to divide by, where the batch is one rank's part
                of a larger one; by default its own.
        """
        if self._embed is not None:
            return losses_and_gradients(
                model, batch, prefactors, counts=counts, embed=self._embed
            )
        with torch.no_grad():
            with_virial = prefactors.virial != 0
            passes = self._passes(model, batch, with_virial=with_virial)
            found = passes.prediction
            terms, weights = score(found, batch, prefactors, counts=counts)
            return _result(terms, passes.gradient(weights), with_virial=with_virial)

    def vector_jacobian(
        self, model: DeepPotential, batch: Batch, weights: OutputWeights
    ) -> Float[Tensor, " parameter"]:
        """Return the gradient of eps.E + v.F + T:Xi by all parameters."""
        if self._embed is not None:
            return _vector_jacobian(model, batch, weights, self._embed)
        with torch.no_grad():
            return self._passes(model, batch, with_virial=False).gradient(weights)

    def predict(self, model: DeepPotential, batch: Batch) -> Prediction:
        """Evaluate a batch as this engine sees it."""
        if self._embed is not None:
            with torch.no_grad():
                views = model.parameters.views
                return model.evaluate(views, batch, embed=self._embed)
        with torch.no_grad():
            return self._passes(model, batch, with_virial=True).prediction

    @property
    def _embed(self) -> Embed | None:
        """What evaluates the embedding nets under autograd; None for the passes."""
        by_table: Embed = partial(embed_by_table, intervals=self.intervals)
        found: dict[str, Embed] = {"autograd": embed, "autograd-table": by_table}
        return found.get(self.name)

    def worst(self, error: float) -> float:
        """Return the largest of all ranks' errors; here there is one."""
        return error

    def _passes(
        self, model: DeepPotential, batch: Batch, *, with_virial: bool
    ) -> FourPass | StripPass:
        if isinstance(model.config.descriptor, SeAttenConfig):
            return StripPass(
                model, batch, with_virial=with_virial, intervals=self.intervals
            )
        features: EdgeFeatures
        if self.name == "table":
            tabulated = TableFeatures(model, batch, intervals=self.intervals)
            # Beyond its ends a table goes on straight; two atoms in one place do not.
            is_true = tabulated.extended == 0
            features = tabulated if is_true else ExactFeatures(model, batch)
        else:
            features = ExactFeatures(model, batch)
        return FourPass(model, batch, features, with_virial=with_virial)


def unsupported(config: ModelConfig) -> str | None:
    """Say why the analytic engines do not serve a model; None if they do."""
    return no_fast_path(config)


def choose_engine(
    config: ModelConfig, name: EngineName = "auto", *, intervals: int = INTERVALS
) -> Engine:
    """Return the engine that serves a model.

    Args:
        config: The model.
        name: ``auto`` takes the fastest that serves.
        intervals: Pieces of each table.

    Raises:
        ConfigError: If the engine that is asked for does not serve this model.
    """
    reason = unsupported(config)
    if name == "auto":
        served = "table" if reason is None else "autograd-table"
        return Engine(name=served, reason=reason, intervals=intervals)
    if name == "exact" and reason is None and config.descriptor.type != "se_e2_a":
        reason = f"exact passes serve se_e2_a alone, not {config.descriptor.type}"
    if name in ("table", "exact") and reason is not None:
        raise ConfigError(
            f"engine = {name!r}: {reason}; expected a model that it serves. Leave the "
            "engine out, or take 'autograd' or 'autograd-table'."
        )
    return Engine(name=name, intervals=intervals)


def losses_and_gradients(
    model: DeepPotential,
    batch: Batch,
    prefactors: Prefactors,
    *,
    counts: LabelCounts | None = None,
    embed: Embed = embed,
) -> StepResult:
    """Evaluate loss and gradient by autograd: the reference of the other engines."""
    flat = model.parameters.flat.detach().requires_grad_(True)
    with torch.enable_grad():
        views = model.parameters.unflatten(flat)
        with_virial = prefactors.virial != 0
        prediction = model.evaluate(views, batch, with_virial=with_virial, embed=embed)
        terms = loss_terms(prediction, batch, prefactors, counts=counts)
        gradient = torch.zeros_like(flat, requires_grad=False)
        if terms.loss.requires_grad:  # not so where every prefactor is zero
            (gradient,) = torch.autograd.grad(terms.loss, flat)
    return _result(terms, gradient, with_virial=with_virial)


def losses(model: DeepPotential, batch: Batch, prefactors: Prefactors) -> LossTerms:
    """Evaluate the loss of a batch without gradient, e.g. for validation."""
    return loss_terms(model.energy_and_forces(batch), batch, prefactors)


def _vector_jacobian(
    model: DeepPotential, batch: Batch, weights: OutputWeights, embed: Embed
) -> Float[Tensor, " parameter"]:
    flat = model.parameters.flat.detach().requires_grad_(True)
    with torch.enable_grad():
        views = model.parameters.unflatten(flat)
        found = model.evaluate(
            views, batch, with_virial=weights.virial is not None, embed=embed
        )
        total = (found.energy * weights.energy).sum()
        total = total + (found.force * weights.force).sum()
        if weights.virial is not None:
            total = total + (found.virial * weights.virial).sum()
        (gradient,) = torch.autograd.grad(total, flat)
    return gradient


def _result(terms: LossTerms, gradient: Tensor, *, with_virial: bool) -> StepResult:
    mse_virial = terms.mse_virial
    if not with_virial:
        mse_virial = torch.full_like(mse_virial, torch.nan)
    return StepResult(
        loss=terms.loss.detach(),
        mse_energy=terms.mse_energy,
        mse_force=terms.mse_force,
        mse_virial=mse_virial,
        gradient=gradient,
    )
