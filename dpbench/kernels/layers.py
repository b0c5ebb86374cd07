"""Layers of the embedding and fitting nets as pure functions of parameter views.

A layer is y = f(x W + b) * idt + shortcut(x); the shortcut is x where the widths
agree, (x, x) where the layer doubles the width, and nothing otherwise.

The embedding net maps one number, so its derivative by that number travels forward
with the value: ``embed_reference`` returns G(s) and G'(s) together, and forces need no
backward pass through the net (``kernels.embedding`` does the same, fast). The fitting
net, many numbers to one, is run backward explicitly by ``fit_adjoint``. Both are plain
torch and can be differentiated for training.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dpbench.kernels.activations import ACTIVATIONS
from dpbench.shapes import Float


class Layer(NamedTuple):
    """Views of one layer's parameters."""

    w: Float[Tensor, "n_in n_out"]
    """Weights; the input stands on the left."""
    b: Float[Tensor, " n_out"]
    """Biases."""
    idt: Float[Tensor, " n_out"] | None
    """Time step of a shortcut layer."""

    @property
    def repeats(self) -> int:
        """How often the input appears in the shortcut: 0, 1 or 2."""
        n_in, n_out = self.w.shape
        return n_out // n_in if n_out in (n_in, 2 * n_in) else 0

    def empty_like(self) -> "Layer":
        """Return a layer of the same shapes to be written to."""
        idt = None if self.idt is None else torch.empty_like(self.idt)
        return Layer(torch.empty_like(self.w), torch.empty_like(self.b), idt)


def embed_reference(
    s: Float[Tensor, " edge"], layers: Sequence[Layer], activation: str
) -> tuple[Float[Tensor, "edge feature"], Float[Tensor, "edge feature"]]:
    """Evaluate an embedding net and its derivative.

    Args:
        s: Normalised radial column of the environment matrix.
        layers: All layers of the net; the first takes one number.
        activation: Name of the activation function.

    Returns:
        G(s) and dG/ds.
    """
    function = ACTIVATIONS[activation]
    x, dx = s.unsqueeze(1), torch.ones_like(s).unsqueeze(1)
    for layer in layers:
        a = torch.addmm(layer.b, x, layer.w)
        y = function.value(a)
        dy = function.slope(a, y) * (dx @ layer.w)
        if layer.idt is not None:
            y, dy = y * layer.idt, dy * layer.idt
        if layer.repeats:
            y = y + torch.cat([x] * layer.repeats, dim=1)
            dy = dy + torch.cat([dx] * layer.repeats, dim=1)
        x, dx = y, dy
    return x, dx


def embed_value(
    s: Float[Tensor, " point"], layers: Sequence[Layer], activation: str
) -> Float[Tensor, "point feature"]:
    """Evaluate an embedding net without its derivative."""
    return net_value(s.unsqueeze(1), layers, activation)


def net_value(
    x: Float[Tensor, "row n_in"], layers: Sequence[Layer], activation: str
) -> Float[Tensor, "row n_out"]:
    """Evaluate a net of shortcut layers on rows of any width."""
    function = ACTIVATIONS[activation]
    for layer in layers:
        y = function.value(torch.addmm(layer.b, x, layer.w))
        x = _shortcut(y if layer.idt is None else y * layer.idt, x, layer.repeats)
    return x


class FittingPass(NamedTuple):
    """A fitting net evaluated forward, and what the way back needs."""

    energy: Float[Tensor, " atom"]
    """Output of the net, eV."""
    arguments: list[Tensor]
    """a = x W + b of each hidden layer."""
    values: list[Tensor]
    """f(a) of each hidden layer."""


def fit(
    descriptor: Float[Tensor, "atom component"],
    layers: Sequence[Layer],
    activation: str,
) -> FittingPass:
    """Evaluate a fitting net.

    Args:
        descriptor: Input of the net.
        layers: Hidden layers, and the linear output layer with one output.
        activation: Name of the hidden layers' activation function.
    """
    function = ACTIVATIONS[activation]
    x = descriptor
    arguments, values = [], []
    for layer in layers[:-1]:
        a = torch.addmm(layer.b, x, layer.w)
        y = function.value(a)
        arguments.append(a)
        values.append(y)
        x = _shortcut(y if layer.idt is None else y * layer.idt, x, layer.repeats)
    last = layers[-1]
    return FittingPass(torch.addmm(last.b, x, last.w)[:, 0], arguments, values)


def fit_adjoint(
    done: FittingPass, layers: Sequence[Layer], activation: str
) -> Float[Tensor, "atom component"]:
    """Return the derivative of each atom's output by its descriptor."""
    function = ACTIVATIONS[activation]
    grad = layers[-1].w.T.expand(len(done.energy), -1)
    steps = zip(done.arguments, done.values, layers[:-1], strict=True)
    for a, y, layer in reversed(list(steps)):
        slope = function.slope(a, y)
        inner = grad * slope if layer.idt is None else grad * (slope * layer.idt)
        grad = _shortcut_adjoint(inner @ layer.w.T, grad, layer.repeats)
    return grad


def _shortcut(y: Tensor, x: Tensor, repeats: int) -> Tensor:
    """Add x (once or twice, side by side) to y."""
    if repeats == 0:
        return y
    return y + (x if repeats == 1 else torch.cat([x, x], dim=-1))


def _shortcut_adjoint(grad_x: Tensor, grad_y: Tensor, repeats: int) -> Tensor:
    """Add what reaches x through the shortcut to its gradient."""
    if repeats == 0:
        return grad_x
    if repeats == 1:
        return grad_x + grad_y
    width = grad_x.shape[-1]
    return grad_x + grad_y[..., :width] + grad_y[..., width:]
