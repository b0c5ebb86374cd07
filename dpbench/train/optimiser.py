"""Adam on one flat parameter buffer."""

from typing import final

import torch
from torch import Tensor

from dpbench.errors import TrainingError
from dpbench.shapes import Float
from dpbench.train.config import OptimiserConfig


@final
class Adam:
    """Adam with bias correction; updates the parameters in place.

    m <- beta1 m + (1 - beta1) g            v <- beta2 v + (1 - beta2) g^2
    p <- p - lr / (1 - beta1^k) m / (sqrt(v / (1 - beta2^k)) + epsilon)

    Source:
        Kingma and Ba, arXiv:1412.6980, algorithm 1.
    """

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
        if config.gradient_max_norm is not None:
            norm = torch.linalg.vector_norm(gradient)
            gradient = gradient * (config.gradient_max_norm / norm).clamp(max=1.0)
        self._count += 1
        self._mean.lerp_(gradient, 1 - config.beta1)
        self._square.mul_(config.beta2).addcmul_(
            gradient, gradient, value=1 - config.beta2
        )
        first = 1 - config.beta1**self._count
        second = 1 - config.beta2**self._count
        root = (self._square.sqrt() / second**0.5).add_(config.epsilon)
        self._parameters.addcdiv_(self._mean, root, value=-learning_rate / first)

    def state(self) -> dict[str, Tensor | int]:
        """Moments and step count, to be stored; tensors are copies on the CPU."""
        return {
            "mean": self._mean.detach().cpu().clone(),
            "square": self._square.detach().cpu().clone(),
            "count": self._count,
        }

    def restore(self, state: dict[str, Tensor | int]) -> None:
        """Take over a stored state; TrainingError if it is not of this buffer."""
        mean, square, count = state["mean"], state["square"], state["count"]
        if not (
            isinstance(mean, Tensor)
            and isinstance(square, Tensor)
            and isinstance(count, int)
            and mean.shape == self._mean.shape
            and mean.dtype == self._mean.dtype
        ):
            raise TrainingError(
                "checkpoint: the optimiser state does not fit the model. Resume with "
                "the configuration that the run was started with."
            )
        self._mean.copy_(mean)
        self._square.copy_(square)
        self._count = count
