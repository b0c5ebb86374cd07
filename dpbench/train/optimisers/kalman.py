"""A layered Kalman filter: each measurement updates weights and their covariance."""

import math
from typing import final

import torch
from torch import Tensor

from dpbench.errors import ConfigError
from dpbench.shapes import Float
from dpbench.train.optimisers.config import OptimiserConfig
from dpbench.train.optimisers.protocol import (
    OptimiserState,
    stored,
    stored_number,
    take_over,
)

MOST_BYTES = 2 * 1024**3
"""Most memory that the covariance may take."""


@final
class KalmanFilter:
    """Extended Kalman filter with a covariance of equal diagonal blocks.

    For a measurement with error e = y - h(w) and Jacobian H = dh/dw:

    a = 1 / (blocks lambda + H^T P H);   w <- w + a e P H
    P <- (P - a (P H)(P H)^T) / lambda;  lambda <- nu lambda + 1 - nu

    With one block this is recursive least squares with a forgetting factor.

    Source:
        Hu et al., arXiv:2212.06989 (RLEKF); DeePMD-kit, ``LKFOptimizer``.
    """

    name = "kalman"

    def __init__(
        self, parameters: Float[Tensor, " parameter"], config: OptimiserConfig
    ) -> None:
        """Start with the unit covariance.

        Raises:
            ConfigError: If the covariance would take more than ``MOST_BYTES``.
        """
        self._parameters, self.config = parameters, config
        block = min(config.kalman_block, len(parameters))
        self._blocks = math.ceil(len(parameters) / block)
        size = self._blocks * block**2 * parameters.element_size()
        if size > MOST_BYTES:
            fitting = MOST_BYTES // (len(parameters) * parameters.element_size())
            raise ConfigError(
                f"optimiser: the covariance of {len(parameters)} parameters in blocks "
                f"of {block} takes {size / 1e9:.3g} GB; at most "
                f"{MOST_BYTES / 1e9:.3g} GB are allowed. Set kalman_block to "
                f"{fitting} or less."
            )
        unit = torch.eye(block, dtype=parameters.dtype, device=parameters.device)
        self._covariance = unit.repeat(self._blocks, 1, 1)
        self._padded = parameters.new_zeros(self._blocks * block)
        self._lambda, self.count = config.kalman_lambda, 0

    @torch.no_grad()
    def update(
        self, jacobian: Float[Tensor, " parameter"], error: Float[Tensor, ""] | float
    ) -> None:
        """Take in one measurement.

        Args:
            jacobian: Derivative of what is predicted by all parameters.
            error: What is measured less what is predicted.
        """
        covariance, forget = self._covariance, self._lambda
        self._padded[: len(jacobian)] = jacobian
        rows = self._padded.view(self._blocks, -1, 1)
        gain = covariance @ rows
        scale = 1 / (self._blocks * forget + (rows * gain).sum())
        step = (gain * (scale * error)).flatten()
        self._parameters.add_(step[: len(jacobian)])
        covariance.baddbmm_(gain * -scale, gain.transpose(1, 2)).div_(forget)
        self._lambda = self.config.kalman_nu * forget + 1 - self.config.kalman_nu
        self.count += 1

    def step(
        self, gradient: Float[Tensor, " parameter"], *, learning_rate: float
    ) -> None:
        """Refuse: a filter needs measurements, not the gradient of a loss."""
        raise ConfigError(
            "optimiser: kalman takes no gradient. Train through "
            "dpbench.train.optimisers.stepping, which takes measurements."
        )

    def solution(self) -> Float[Tensor, " parameter"]:
        """Return the buffer itself."""
        return self._parameters

    def state(self) -> OptimiserState:
        """Covariance, forgetting factor and the number of measurements."""
        plain = {"name": self.name, "count": self.count, "lambda": self._lambda}
        return plain | stored({"covariance": self._covariance})

    def restore(self, state: OptimiserState) -> None:
        """Take over a stored state; TrainingError if it is not of this buffer."""
        count = stored_number(state, "count", int)
        forget = stored_number(state, "lambda", float)
        take_over({"covariance": self._covariance}, state, name=self.name)
        self._lambda, self.count = forget, count
