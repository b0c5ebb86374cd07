"""What the passes through a fitting net leave for each other."""

from dataclasses import dataclass, field

from torch import Tensor

from dpbench.kernels.layers import Layer
from dpbench.shapes import Float


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """A fitting net evaluated forward and, after ``backward``, back."""

    layers: list[Layer]
    """Hidden layers, and the linear output layer with one output."""
    activation: str
    """Name of the hidden layers' activation function."""
    energy: Float[Tensor, " atom"]
    """Output of the net, eV."""
    inputs: list[Tensor]
    """x of each layer, (atom, n_in)."""
    values: list[Tensor]
    """f(a) of each hidden layer, (atom, n_out)."""
    arguments: list[Tensor] = field(default_factory=list)
    """a of each hidden layer, for variants that form slopes from it when needed."""
    slopes: list[Tensor] = field(default_factory=list)
    """f'(a) idt of each hidden layer, for variants that form it on the way forward."""
    bends: list[Tensor] = field(default_factory=list)
    """f''(a) idt of each hidden layer, likewise."""
    grads: list[Tensor] = field(default_factory=list)
    """After ``backward``: g of each hidden layer, the gradient by its output."""
    deltas: list[Tensor] = field(default_factory=list)
    """After ``backward``: the gradient by a of each hidden layer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tangent:
    """Derivatives of a pass along a change of the descriptor."""

    inputs: list[Tensor]
    """x' of each layer, (atom, n_in)."""
    arguments: list[Tensor]
    """a' of each hidden layer."""
    grads: list[Tensor] = field(default_factory=list)
    """After ``tangent_backward``: g' of each hidden layer."""
    deltas: list[Tensor] = field(default_factory=list)
    """After ``tangent_backward``: delta' of each hidden layer."""
