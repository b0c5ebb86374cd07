"""Muon: orthogonalised momentum for weights of two dimensions, Adam for the rest."""

from typing import final

import torch
from torch import Tensor

from dpbench.models.parameters import FlatParameters
from dpbench.shapes import Float
from dpbench.train.optimisers.adam import Adam
from dpbench.train.optimisers.config import OptimiserConfig
from dpbench.train.optimisers.protocol import (
    OptimiserState,
    clipped,
    stored,
    stored_number,
    take_over,
)

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic that drives singular values into [0.7, 1.2] in few iterations."""

ITERATIONS = 5

ADAM_LENGTH = 0.2
"""Root mean square of a typical step of Adam, by its learning rate: with it one
learning rate serves both."""


@torch.no_grad()
def orthogonalised(matrix: Float[Tensor, "row column"]) -> Float[Tensor, "row column"]:
    """Return nearly U V^T of the singular value decomposition U S V^T.

    X <- a X + (b A + c A^2) X,   A = X X^T, five times. A matrix that is much longer
    than wide is handled through its Gram matrix alone: X_k = X_0 P_k with
    A_k = P_k A_0 P_k, so that only two products are as long as the matrix.

    Source:
        Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.
    """
    if matrix.shape[0] < matrix.shape[1]:
        return orthogonalised(matrix.T).T
    a, b, c = COEFFICIENTS
    x: Tensor = matrix / torch.linalg.matrix_norm(matrix).clamp(min=1e-30)
    if x.shape[0] <= 2 * x.shape[1]:
        for _ in range(ITERATIONS):
            gram = x.T @ x
            factor = torch.addmm(gram, gram, gram, beta=b, alpha=c)
            x = torch.addmm(x, x, factor, beta=a)
        return x
    gram = x.T @ x
    product = identity = torch.eye(len(gram), dtype=x.dtype, device=x.device)
    for _ in range(ITERATIONS):
        factor = torch.addmm(gram, gram, gram, beta=b, alpha=c).add_(identity, alpha=a)
        product = product @ factor
        gram = factor @ gram @ factor
    orthogonal: Tensor = x @ product
    return orthogonal


@final
class Muon:
    """Muon with Nesterov's momentum, its steps as long as Adam's.

    m <- mu m + (1 - mu) g
    W <- W - 0.2 lr sqrt(max(rows, columns)) orth(mu m + (1 - mu) g)

    Biases, time steps and weights with one row or column are Adam's.

    Source:
        Jordan et al. 2024; the length of the step: Liu et al., arXiv:2502.16982, eq. 4.
    """

    name = "muon"

    def __init__(self, parameters: FlatParameters, config: OptimiserConfig) -> None:
        """Start with empty momentum."""
        self._config, self._flat = config, parameters
        flat = parameters.flat
        self._matrices = [
            name
            for name, shape in parameters.shapes.items()
            if len(shape) == 2 and min(shape) > 1
        ]
        places = parameters.unflatten(torch.arange(len(flat), device=flat.device))
        others = [
            place.flatten()
            for name, place in places.items()
            if name not in set(self._matrices)
        ]
        self._rest = torch.cat(others) if others else _no_places(flat)
        self._rest_values = flat[self._rest]
        self._adam = Adam(self._rest_values, config)
        self._mean = {
            name: torch.zeros_like(parameters.views[name]) for name in self._matrices
        }
        # Adam clips nothing itself: the gradient is clipped whole, before it is split.
        self._count = 0

    @torch.no_grad()
    def step(
        self, gradient: Float[Tensor, " parameter"], *, learning_rate: float
    ) -> None:
        """Move the parameters against ``gradient``."""
        gradient = clipped(gradient, self._config.gradient_max_norm)
        self._count += 1
        gradients = self._flat.unflatten(gradient)
        momentum = self._config.muon_momentum
        for name in self._matrices:
            mean, view = self._mean[name], self._flat.views[name]
            mean.lerp_(gradients[name], 1 - momentum)
            direction = orthogonalised(gradients[name].lerp(mean, momentum))
            length = ADAM_LENGTH * max(view.shape) ** 0.5
            view.add_(direction, alpha=-learning_rate * length)
        self._rest_values.copy_(self._flat.flat[self._rest])
        self._adam.step(gradient[self._rest], learning_rate=learning_rate)
        self._flat.flat.index_copy_(0, self._rest, self._rest_values)

    def solution(self) -> Float[Tensor, " parameter"]:
        """Return the buffer itself."""
        return self._flat.flat

    def state(self) -> OptimiserState:
        """Momentum, Adam's state for the rest, and the count."""
        plain = {"name": self.name, "count": self._count, "rest": self._adam.state()}
        return plain | stored(self._mean)

    def restore(self, state: OptimiserState) -> None:
        """Take over a stored state; TrainingError if it is not of this model."""
        count = stored_number(state, "count", int)
        rest = stored_number(state, "rest", dict)
        take_over(self._mean, state, name=self.name)
        self._adam.restore(rest)
        self._count = count


def _no_places(flat: Tensor) -> Tensor:
    """Return no places, on the device of ``flat``."""
    return torch.zeros(0, dtype=torch.int64, device=flat.device)
