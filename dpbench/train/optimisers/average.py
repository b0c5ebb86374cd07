"""An exponential average of the weights, over any optimiser."""

from typing import final

import torch
from torch import Tensor

from dpbench.shapes import Float
from dpbench.train.optimisers.protocol import (
    Optimiser,
    OptimiserState,
    stored,
    stored_number,
    take_over,
)


@final
class Averaged:
    """Averages the weights that another optimiser leaves in the buffer.

    a <- d_k a + (1 - d_k) p,   d_k = min(decay, k / (k + 10))

    The decay rises to its value, so that the start weights are soon forgotten. The
    average is the solution; the buffer goes its way untouched.
    """

    def __init__(
        self,
        inner: Optimiser,
        parameters: Float[Tensor, " parameter"],
        *,
        decay: float,
    ) -> None:
        """Average ``parameters``, which ``inner`` moves."""
        self._inner, self._parameters, self._decay = inner, parameters, decay
        self._average = parameters.detach().clone()
        self._count = 0

    @property
    def name(self) -> str:
        """The inner optimiser's name, and that it is averaged."""
        return f"{self._inner.name}+average"

    @property
    def inner(self) -> Optimiser:
        """The optimiser that moves the parameters."""
        return self._inner

    def step(
        self, gradient: Float[Tensor, " parameter"], *, learning_rate: float
    ) -> None:
        """Let the inner optimiser move the parameters, and average."""
        self._inner.step(gradient, learning_rate=learning_rate)
        self.follow()

    @torch.no_grad()
    def follow(self) -> None:
        """Take the parameters as they are now into the average."""
        self._count += 1
        decay = min(self._decay, self._count / (self._count + 10))
        self._average.lerp_(self._parameters, 1 - decay)

    def solution(self) -> Float[Tensor, " parameter"]:
        """Return the average."""
        return self._average

    def state(self) -> OptimiserState:
        """The inner state, the average and its count."""
        plain = {"name": self.name, "count": self._count, "inner": self._inner.state()}
        return plain | stored({"average": self._average})

    def restore(self, state: OptimiserState) -> None:
        """Take over a stored state; TrainingError if it is not of this optimiser."""
        count = stored_number(state, "count", int)
        inner = stored_number(state, "inner", dict)
        take_over({"average": self._average}, state, name=self.name)
        self._inner.restore(inner)
        self._count = count
