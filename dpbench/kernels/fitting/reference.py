"""The passes through a fitting net in plain torch, for any device and activation."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dpbench.kernels.activations import ACTIVATIONS
from dpbench.kernels.fitting.packed import Packed
from dpbench.kernels.fitting.states import Pass, Tangent
from dpbench.kernels.layers import Layer
from dpbench.shapes import Float


def forward(
    descriptor: Float[Tensor, "atom component"],
    layers: Sequence[Layer],
    activation: str,
) -> Pass:
    """Evaluate the net.

    Args:
        descriptor: Input of the net, atoms of one type.
        layers: Hidden layers, and the linear output layer with one output.
        activation: Name of the hidden layers' activation function.
    """
    function = ACTIVATIONS[activation]
    x = descriptor
    inputs, arguments, values = [], [], []
    for layer in layers[:-1]:
        a = torch.addmm(layer.b, x, layer.w)
        y = function.value(a)
        inputs.append(x)
        arguments.append(a)
        values.append(y)
        x = _shortcut(y if layer.idt is None else y * layer.idt, x, layer.repeats)
    inputs.append(x)
    last = layers[-1]
    return Pass(
        layers=list(layers),
        activation=activation,
        energy=torch.addmm(last.b, x, last.w)[:, 0],
        inputs=inputs,
        arguments=arguments,
        values=values,
    )


def backward(
    done: Pass, *, out: Float[Tensor, "atom component"] | None = None
) -> Float[Tensor, "atom component"]:
    """Return the derivative of each atom's energy by its descriptor, and note the way.

    Args:
        done: The forward pass; gets ``grads`` and ``deltas``.
        out: Where to write the result, e.g. the rows of one type in a larger array.
    """
    function = ACTIVATIONS[done.activation]
    hidden = done.layers[:-1]
    grad = done.layers[-1].w.T.expand(len(done.energy), -1)
    grads, deltas = [], []
    for layer, a, y in _back(hidden, done.arguments, done.values):
        slope = function.slope(a, y)
        delta = grad * slope if layer.idt is None else grad * (slope * layer.idt)
        grads.append(grad)
        deltas.append(delta)
        grad = _shortcut_adjoint(delta @ layer.w.T, grad, layer.repeats)
    done.grads[:], done.deltas[:] = grads[::-1], deltas[::-1]
    return grad if out is None else out.copy_(grad)


def tangent(
    done: Pass, descriptor_dot: Float[Tensor, "atom component"]
) -> tuple[Float[Tensor, " atom"], Tangent]:
    """Return the change of each atom's energy along a change of its descriptor.

    Args:
        done: The forward pass.
        descriptor_dot: Change of the descriptor.

    Returns:
        Change of the energy, and the state that the way back needs.
    """
    function = ACTIVATIONS[done.activation]
    x = descriptor_dot
    inputs, arguments = [], []
    for layer, a, y in zip(done.layers[:-1], done.arguments, done.values, strict=True):
        inner = x @ layer.w
        inputs.append(x)
        arguments.append(inner)
        change = function.slope(a, y) * inner
        if layer.idt is not None:
            change = change * layer.idt
        x = _shortcut(change, x, layer.repeats)
    inputs.append(x)
    energy = (x @ done.layers[-1].w)[:, 0]
    return energy, Tangent(inputs=inputs, arguments=arguments)


def tangent_backward(
    done: Pass, along: Tangent, *, out: Float[Tensor, "atom component"] | None = None
) -> Float[Tensor, "atom component"]:
    """Return the change of dE/dD along the tangent, and note the way.

    Args:
        done: The pass; run backward first, else that is done here.
        along: The tangent; gets ``grads`` and ``deltas``.
        out: Where to write the result.
    """
    function = ACTIVATIONS[done.activation]
    if len(done.deltas) != len(done.arguments):
        backward(done)
    hidden = done.layers[:-1]
    grad = torch.zeros_like(along.inputs[-1])
    grads, deltas = [], []
    ways = zip(done.arguments, done.values, done.grads, along.arguments, strict=True)
    for layer, (a, y, outer, inner) in _back(hidden, list(ways)):
        delta = grad * function.slope(a, y) + outer * function.curvature(a, y) * inner
        if layer.idt is not None:
            delta = delta * layer.idt
        grads.append(grad)
        deltas.append(delta)
        grad = _shortcut_adjoint(delta @ layer.w.T, grad, layer.repeats)
    along.grads[:], along.deltas[:] = grads[::-1], deltas[::-1]
    return grad if out is None else out.copy_(grad)


def weight_gradients(
    done: Pass,
    along: Tangent,
    eps: Float[Tensor, " atom"],
    *,
    out: Sequence[Layer] | None = None,
) -> list[Layer]:
    """Return the gradient of sum_a (eps_a E_a + E'_a) by the parameters.

    Args:
        done: The pass, run backward.
        along: The tangent; run backward first, else that is done here.
        eps: Weight of each atom's energy.
        out: Where to write the gradients, e.g. views of one flat buffer; overwritten.
    """
    if len(along.deltas) != len(along.arguments):
        tangent_backward(done, along)
    function = ACTIVATIONS[done.activation]
    found = []
    column = eps[:, None]
    for index, layer in enumerate(done.layers[:-1]):
        x, dx = done.inputs[index], along.inputs[index]
        delta = done.deltas[index]
        both = along.deltas[index] + column * delta
        idt = None
        if layer.idt is not None:
            a, y = done.arguments[index], done.values[index]
            outer = done.grads[index]
            inner = function.slope(a, y) * along.arguments[index]
            idt = ((along.grads[index] + column * outer) * y + outer * inner).sum(0)
        found.append(Layer(dx.T @ delta + x.T @ both, both.sum(0), idt))
    x, dx = done.inputs[-1], along.inputs[-1]
    found.append(Layer(dx.sum(0)[:, None] + x.T @ column, eps.sum()[None], None))
    if out is None:
        return found
    for target, layer in zip(out, found, strict=True):
        for place, value in zip(target, layer, strict=True):
            if place is not None and value is not None:
                place.copy_(value)
    return list(out)


def infer(
    descriptor: Float[Tensor, "atom component"],
    layers: Sequence[Layer] | Packed,
    activation: str,
) -> tuple[Float[Tensor, " atom"], Float[Tensor, "atom component"]]:
    """Return each atom's energy and its derivative by the descriptor."""
    net = layers.layers if isinstance(layers, Packed) else layers
    done = forward(descriptor, net, activation)
    return done.energy, backward(done)


def pack(layers: Sequence[Layer]) -> Packed:
    """Return the net as ``infer`` takes it; other variants lay it out anew."""
    return Packed(layers=tuple(layers))


def _back(layers: Sequence[Layer], *columns: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return layers and what belongs to them, last first."""
    return list(zip(layers, *columns, strict=True))[::-1]


def _shortcut(y: Tensor, x: Tensor, repeats: int) -> Tensor:
    """Add x (once or twice, side by side) to y."""
    return y + torch.cat([x] * repeats, dim=1) if repeats else y


def _shortcut_adjoint(grad_x: Tensor, grad_y: Tensor, repeats: int) -> Tensor:
    """Add what reaches x through the shortcut to its gradient."""
    for part in grad_y.chunk(repeats, dim=1) if repeats else ():
        grad_x = grad_x + part
    return grad_x
