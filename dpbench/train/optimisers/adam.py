"""Adam on one flat parameter buffer."""

from typing import final

import torch
from torch import Tensor

from dpbench.shapes import Float
from dpbench.train.optimisers.config import OptimiserConfig
from dpbench.train.optimisers.protocol import (
    OptimiserState,
    clipped,
    stored,
    stored_number,
    take_over,
)


@final
class Adam:
    """Adam with bias correction; updates the parameters in place.

    m <- beta1 m + (1 - beta1) g            v <- beta2 v + (1 - beta2) g^2
    p <- p - lr / (1 - beta1^k) m / (sqrt(v / (1 - beta2^k)) + epsilon)

    Source:
        Kingma and Ba, arXiv:1412.6980, algorithm 1.
    """

    name = "adam"

    def __init__(
        self, parameters: Float[Tensor, " parameter"], config: OptimiserConfig
    ) -> None:
        """Start with empty moments for the buffer ``parameters``."""
        self._parameters, self._config = parameters, config
        self._mean = torch.zeros_like(parameters)
        self._square = torch.zeros_like(parameters)
        self._count = 0

    @torch.no_grad()
    def step(
        self, gradient: Float[Tensor, " parameter"], *, learning_rate: float
    ) -> None:
        """Move the parameters against ``gradient``."""
        config = self._config
        gradient = clipped(gradient, config.gradient_max_norm)
        self._count += 1
        self._mean.lerp_(gradient, 1 - config.beta1)
        self._square.mul_(config.beta2).addcmul_(
            gradient, gradient, value=1 - config.beta2
        )
        first = 1 - config.beta1**self._count
        second = 1 - config.beta2**self._count
        root = (self._square.sqrt() / second**0.5).add_(config.epsilon)
        self._parameters.addcdiv_(self._mean, root, value=-learning_rate / first)

    def solution(self) -> Float[Tensor, " parameter"]:
        """Return the buffer itself."""
        return self._parameters

    def state(self) -> OptimiserState:
        """Moments and step count."""
        plain = {"name": self.name, "count": self._count}
        return plain | stored({"mean": self._mean, "square": self._square})

    def restore(self, state: OptimiserState) -> None:
        """Take over a stored state; TrainingError if it is not of this buffer."""
        count = stored_number(state, "count", int)
        own = {"mean": self._mean, "square": self._square}
        take_over(own, state, name=self.name)
        self._count = count
