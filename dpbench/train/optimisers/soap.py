"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner."""

from dataclasses import dataclass
from math import inf
from typing import final

import torch
from torch import Tensor

from dpbench.models.parameters import FlatParameters
from dpbench.shapes import Float
from dpbench.train.optimisers.adam import fused_adam, longest_step
from dpbench.train.optimisers.config import OptimiserConfig
from dpbench.train.optimisers.protocol import (
    OptimiserState,
    clipped,
    stored,
    stored_number,
    take_over,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Side:
    """One side of a weight: the second moment of its gradients, and a basis for it."""

    moment: Float[Tensor, "side side"]
    """Running mean of G G^T or G^T G."""
    basis: Float[Tensor, "side side"]
    """Columns: nearly its eigenvectors, largest first."""


@final
class Soap:
    """Adam on gradients that are rotated into slowly renewed eigenbases.

    Of each weight W (rows, columns), with gradient G and bases Q_L, Q_R:

    G' = Q_L^T G Q_R;   N' = Adam's direction for G';   W <- W - lr Q_L N' Q_R^T

    Q_L and Q_R are the eigenbases of the running means of G G^T and G^T G, renewed by
    one step of orthogonal iteration every ``soap_refresh`` steps. A side longer than
    ``soap_block`` or of length one has no basis; what has none at all is Adam's. The
    mean of gradients is kept rotated, and turned when the bases turn. The first step
    makes the bases and moves nothing.

    When bases turn, the mean of gradients turns with them, but the mean of squares
    stays as it is: where a small square meets a mean that came from a larger one, the
    step is longer than any of Adam's. N' is cut there, element by element, to what
    Adam's means allow in one basis (``longest_step``; the rate itself for equal
    decays). Without that, runs with a large range of gradients diverge.

    Source:
        Vyas et al., arXiv:2409.11321, algorithms 3 and 4; the cut is our own.
    """

    name = "soap"

    def __init__(self, parameters: FlatParameters, config: OptimiserConfig) -> None:
        """Start with empty moments and plain axes."""
        self._config, self._flat = config, parameters
        self._mean = torch.zeros_like(parameters.flat)
        self._square = torch.zeros_like(parameters.flat)
        # Kept, because memory that is given back and taken anew costs as much as Adam.
        self._turned = torch.zeros_like(parameters.flat)
        self._direction = torch.zeros_like(parameters.flat)
        self._means = parameters.unflatten(self._mean)
        self._squares = parameters.unflatten(self._square)
        self._sides = {
            name: tuple(self._side(size) for size in shape)
            for name, shape in parameters.shapes.items()
            if len(shape) == 2 and any(map(self._has_basis, shape))
        }
        self._plain = [name for name in parameters.shapes if name not in self._sides]
        self._longest = longest_step(config.betas(self.name))
        self._count = 0

    @torch.no_grad()
    def step(
        self, gradient: Float[Tensor, " parameter"], *, learning_rate: float
    ) -> None:
        """Move the parameters against ``gradient``."""
        config = self._config
        gradient = clipped(gradient, config.gradient_max_norm)
        plain = self._flat.unflatten(gradient)
        self._count += 1
        if self._sides and self._count == 1:
            self._start(plain)
            return
        turned = self._flat.unflatten(self._turned)
        for name in self._plain:
            turned[name].copy_(plain[name])
        for name, sides in self._sides.items():
            _turn(plain[name], sides, out=turned[name])
        fused_adam(
            self._direction.zero_(),
            self._turned,
            (self._mean, self._square),
            count=self._count - bool(self._sides),
            learning_rate=learning_rate,
            betas=config.betas(self.name),
            epsilon=config.epsilon,
        )
        if self._longest < inf:
            longest = self._longest * learning_rate
            self._direction.clamp_(-longest, longest)
        directions = self._flat.unflatten(self._direction)
        for name in self._plain:
            self._flat.views[name].add_(directions[name])
        for name, sides in self._sides.items():
            _add_turned_back(directions[name], sides, to=self._flat.views[name])
        if self._count % config.soap_accumulate == 0:
            for name, sides in self._sides.items():
                _accumulate(plain[name], sides, 1 - config.soap_decay)
        if self._count % config.soap_refresh == 0:
            for name in self._sides:
                self._refresh(name)

    def solution(self) -> Float[Tensor, " parameter"]:
        """Return the buffer itself."""
        return self._flat.flat

    def state(self) -> OptimiserState:
        """Moments, bases and step count."""
        plain = {"name": self.name, "count": self._count}
        return plain | stored(self._tensors())

    def restore(self, state: OptimiserState) -> None:
        """Take over a stored state; TrainingError if it is not of this model."""
        count = stored_number(state, "count", int)
        take_over(self._tensors(), state, name=self.name)
        self._count = count

    def _has_basis(self, size: int) -> bool:
        return 1 < size <= self._config.soap_block

    def _side(self, size: int) -> _Side | None:
        if not self._has_basis(size):
            return None
        like = self._flat.flat
        basis = torch.eye(size, dtype=like.dtype, device=like.device)
        return _Side(moment=torch.zeros_like(basis), basis=basis)

    def _start(self, gradients: dict[str, Tensor]) -> None:
        """Make the first bases, exactly, from the first gradient."""
        for name, sides in self._sides.items():
            _accumulate(gradients[name], sides, 1.0)
            for side in sides:
                if side is not None:
                    _, basis = torch.linalg.eigh(side.moment.double())
                    side.basis.copy_(basis.flip(1))

    def _refresh(self, name: str) -> None:
        """Turn the bases of a weight towards the eigenvectors; moments follow."""
        sides, mean, square = self._sides[name], self._means[name], self._squares[name]
        plain = torch.zeros_like(mean)
        _add_turned_back(mean, sides, to=plain)
        for axis, side in enumerate(sides):
            if side is None:
                continue
            image = side.moment @ side.basis
            values = (side.basis * image).sum(dim=0)
            order = torch.argsort(values, descending=True, stable=True)
            square.copy_(square.index_select(axis, order))
            basis, _ = torch.linalg.qr(image[:, order])
            side.basis.copy_(basis)
        _turn(plain, sides, out=mean)

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {"mean": self._mean, "square": self._square}
        for name, sides in self._sides.items():
            for place, side in zip(("left", "right"), sides, strict=True):
                if side is not None:
                    tensors[f"{name}.{place}.moment"] = side.moment
                    tensors[f"{name}.{place}.basis"] = side.basis
        return tensors


_Sides = tuple[_Side | None, ...]


def _turn(matrix: Tensor, sides: _Sides, *, out: Tensor) -> None:
    """Write Q_L^T M Q_R into ``out``."""
    left, right = sides
    if left is not None and right is not None:
        torch.mm(left.basis.T @ matrix, right.basis, out=out)
    elif left is not None:
        torch.mm(left.basis.T, matrix, out=out)
    elif right is not None:
        torch.mm(matrix, right.basis, out=out)


def _add_turned_back(matrix: Tensor, sides: _Sides, *, to: Tensor) -> None:
    """Add Q_L M Q_R^T to ``to``."""
    left, right = sides
    if left is not None and right is not None:
        to.addmm_(left.basis @ matrix, right.basis.T)
    elif left is not None:
        to.addmm_(left.basis, matrix)
    elif right is not None:
        to.addmm_(matrix, right.basis.T)


def _accumulate(gradient: Tensor, sides: _Sides, weight: float) -> None:
    """Take a gradient into the moments of its sides."""
    left, right = sides
    if left is not None:
        left.moment.lerp_(gradient @ gradient.T, weight)
    if right is not None:
        right.moment.lerp_(gradient.T @ gradient, weight)
