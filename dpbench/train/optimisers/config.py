"""Configuration of the optimiser."""

from dataclasses import dataclass
from typing import Literal

from dpbench.errors import ConfigError

OptimiserName = Literal["adam", "soap", "muon", "schedule-free", "kalman"]
"""Names that ``optimiser.type`` and ``--optimizer`` take."""

MOST_BLOCK = 1280
"""Largest block of a Kalman filter's covariance, and largest side of a SOAP basis."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimiserConfig:
    """How gradients become steps; see [optimisers](optimisers.md)."""

    type: OptimiserName = "soap"
    """The method. ``kalman`` filters measurements rather than following a gradient."""

    beta1: float | None = None
    """Decay of the mean of gradients; ``schedule-free``: share of the average in the
    point where gradients are taken. By default 0.95 for ``soap``, else 0.9."""

    beta2: float | None = None
    """Decay of the mean of squared gradients; by default 0.95 for ``soap``, else
    0.999."""

    epsilon: float = 1e-8
    """Added to the root of the mean square."""

    gradient_max_norm: float | None = None
    """Longer gradients are shortened to this norm; None leaves them."""

    average: float = 0.0
    """Decay of a running average of the weights, e.g. 0.999, which is then the model
    that is validated and written; 0 takes the weights themselves."""

    soap_block: int = 256
    """``soap``: longest side of a weight that gets an eigenbasis; longer ones keep
    the plain axes."""

    soap_refresh: int = 20
    """``soap``: steps between two refreshes of the bases."""

    soap_accumulate: int = 4
    """``soap``: steps between two gradients that the bases are made of."""

    soap_decay: float = 0.95
    """``soap``: decay of the second moments that the bases are made of."""

    muon_momentum: float = 0.95
    """``muon``: decay of the mean of gradients of the weights of two dimensions."""

    kalman_block: int = 128
    """``kalman``: parameters of a block of the covariance; memory and time grow with
    it."""

    kalman_lambda: float = 0.98
    """``kalman``: how much is remembered of earlier frames, at the start."""

    kalman_nu: float = 0.9987
    """``kalman``: how fast that goes to one."""

    kalman_force_groups: int = 4
    """``kalman``: updates by forces for each update by the energy."""

    kalman_group_atoms: int = 6
    """``kalman``: atoms whose forces make one update."""

    def __post_init__(self) -> None:
        """Check the ranges in which the methods are defined."""
        betas = self.betas(self.type)
        if not all(0 <= beta < 1 for beta in betas):
            raise ConfigError(f"beta1, beta2 = {betas} not in [0, 1).")
        if not self.epsilon > 0:
            raise ConfigError(f"epsilon = {self.epsilon} must be positive.")
        if self.gradient_max_norm is not None and not self.gradient_max_norm > 0:
            raise ConfigError(
                f"gradient_max_norm = {self.gradient_max_norm} must be positive."
            )
        for name in ("average", "soap_decay", "muon_momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)} not in [0, 1).")
        for name in ("kalman_lambda", "kalman_nu"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"{name} = {getattr(self, name)} not in (0, 1].")
        for name in ("soap_block", "kalman_block"):
            if not 1 <= getattr(self, name) <= MOST_BLOCK:
                raise ConfigError(
                    f"{name} = {getattr(self, name)} not in [1, {MOST_BLOCK}]."
                )
        for name in (
            "soap_refresh",
            "soap_accumulate",
            "kalman_force_groups",
            "kalman_group_atoms",
        ):
            if not getattr(self, name) >= 1:
                raise ConfigError(f"{name} = {getattr(self, name)} must be positive.")
        if self.average and self.type == "schedule-free":
            raise ConfigError(
                "average: schedule-free averages by itself. Leave average out, or "
                "choose another optimiser.type."
            )

    def betas(self, name: str) -> tuple[float, float]:
        """Return the decays of the means of gradients and of their squares.

        Args:
            name: The method that asks: what is left open follows it.
        """
        first, second = (0.95, 0.95) if name == "soap" else (0.9, 0.999)
        return (
            first if self.beta1 is None else self.beta1,
            second if self.beta2 is None else self.beta2,
        )
