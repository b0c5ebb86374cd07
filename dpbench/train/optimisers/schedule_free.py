"""Adam without a schedule: the average takes the place of the decay."""

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
class ScheduleFree:
    """Schedule-free Adam; the buffer holds the point where gradients are taken.

    v <- beta2 v + (1 - beta2) g(y)^2
    z <- z - lr g(y) / (sqrt(v / (1 - beta2^k)) + epsilon)
    x <- x + c (z - x),   c = w_k / sum w,   w_k = (largest rate so far)^2
    y  = (1 - beta1) z + beta1 x

    x, the average of all z weighed by w, is the solution. The learning rate should
    rise and then stay; one that falls is followed all the same.

    Source:
        Defazio et al., arXiv:2405.15682, algorithm 1.
    """

    name = "schedule-free"

    def __init__(
        self, parameters: Float[Tensor, " parameter"], config: OptimiserConfig
    ) -> None:
        """Start with x = y = z = ``parameters``."""
        self._parameters, self._config = parameters, config
        self._average = parameters.detach().clone()
        self._iterate = parameters.detach().clone()
        self._square = torch.zeros_like(parameters)
        self._count, self._weights, self._highest = 0, 0.0, 0.0

    @torch.no_grad()
    def step(
        self, gradient: Float[Tensor, " parameter"], *, learning_rate: float
    ) -> None:
        """Move z against ``gradient``, x towards z, and y between them."""
        config = self._config
        mixing, decay = config.betas(self.name)
        gradient = clipped(gradient, config.gradient_max_norm)
        self._count += 1
        self._square.mul_(decay).addcmul_(gradient, gradient, value=1 - decay)
        second = 1 - decay**self._count
        root = (self._square.sqrt() / second**0.5).add_(config.epsilon)
        self._iterate.addcdiv_(gradient, root, value=-learning_rate)
        self._highest = max(self._highest, learning_rate)
        weight = self._highest**2
        self._weights += weight
        share = weight / self._weights if self._weights else 1.0
        self._average.lerp_(self._iterate, share)
        torch.lerp(self._iterate, self._average, mixing, out=self._parameters)

    def solution(self) -> Float[Tensor, " parameter"]:
        """Return x."""
        return self._average

    def state(self) -> OptimiserState:
        """x, z, the mean square and the counts; y is in the buffer."""
        plain = {
            "name": self.name,
            "count": self._count,
            "weights": self._weights,
            "highest": self._highest,
        }
        return plain | stored(self._tensors())

    def restore(self, state: OptimiserState) -> None:
        """Take over a stored state; TrainingError if it is not of this buffer."""
        count = stored_number(state, "count", int)
        weights = stored_number(state, "weights", float)
        highest = stored_number(state, "highest", float)
        take_over(self._tensors(), state, name=self.name)
        self._count, self._weights, self._highest = count, weights, highest

    def _tensors(self) -> dict[str, Tensor]:
        return {
            "average": self._average,
            "iterate": self._iterate,
            "square": self._square,
        }
