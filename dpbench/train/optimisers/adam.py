"""Adam on one flat parameter buffer."""

from math import inf, sqrt
from typing import final

import torch
from torch import Tensor
from torch.optim.adam import adam

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
        fused_adam(
            self._parameters,
            gradient,
            (self._mean, self._square),
            count=self._count,
            learning_rate=learning_rate,
            betas=config.betas(self.name),
            epsilon=config.epsilon,
        )

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


def longest_step(betas: tuple[float, float]) -> float:
    """Return the most that Adam moves a parameter in a step, in learning rates.

    By Cauchy and Schwarz m^2 <= v (1 - b1)^2 / ((1 - b2) (1 - b1^2 / b2)), whatever the
    gradients were; 1 for equal decays, infinite where b1^2 >= b2. The first steps,
    whose means are corrected, stay below the larger of that and 1.

    Args:
        betas: Decays of the means of gradients and of their squares.
    """
    first, second = betas
    if first**2 >= second:
        return inf
    spread = (1 - second) * (1 - first**2 / second)
    return max(1.0, (1 - first) / sqrt(spread))


def fused_adam(
    parameters: Float[Tensor, " parameter"],
    gradient: Float[Tensor, " parameter"],
    moments: tuple[Float[Tensor, " parameter"], Float[Tensor, " parameter"]],
    *,
    count: int,
    learning_rate: float,
    betas: tuple[float, float],
    epsilon: float,
) -> None:
    """Take step ``count`` of Adam in one pass over memory; all buffers change.

    Args:
        parameters: What is moved.
        gradient: What it is moved against.
        moments: Means of gradients and of their squares.
        count: Number of this step, from 1.
        learning_rate: The rate.
        betas: Decays of the two moments.
        epsilon: Added to the root of the mean square.
    """
    # torch counts by itself, in a tensor, before it uses the count.
    before = torch.tensor(float(count - 1), device=parameters.device)
    adam(
        [parameters],
        [gradient],
        [moments[0]],
        [moments[1]],
        [],
        [before],
        fused=True,
        amsgrad=False,
        beta1=betas[0],
        beta2=betas[1],
        lr=learning_rate,
        weight_decay=0.0,
        eps=epsilon,
        maximize=False,
    )
