"""The passes through a fitting net on CPUs: torch products, numba between them.

Between two products there is one pass over the arrays; slope and curvature are formed
once, on the way forward, and read by the other passes. Nothing is copied: gradients of
weights are written where they are wanted.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dpbench.kernels.activations import ACTIVATIONS
from dpbench.kernels.fitting import reference
from dpbench.kernels.fitting.states import Pass, Tangent
from dpbench.kernels.fitting.trial import largest_error
from dpbench.kernels.layers import Layer
from dpbench.shapes import Float


def forward(
    descriptor: Float[Tensor, "atom component"],
    layers: Sequence[Layer],
    activation: str,
) -> Pass:
    """Evaluate the net; see ``reference.forward``."""
    x = descriptor.contiguous()
    inputs, values, slopes, bends = [x], [], [], []
    for layer in layers[:-1]:
        step = _tanh if ACTIVATIONS[activation] is ACTIVATIONS["tanh"] else _any
        value, slope, bend, x = step(x, layer, activation)
        values.append(value)
        slopes.append(slope)
        bends.append(bend)
        inputs.append(x)
    return Pass(
        layers=list(layers),
        activation=activation,
        energy=_output(x, layers[-1]),
        inputs=inputs,
        values=values,
        slopes=slopes,
        bends=bends,
    )


def _tanh(x: Tensor, layer: Layer, _: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return value, slope, curvature and output of a tanh layer."""
    # tanh(a) = 2 sigmoid(2 a) - 1; see kernels.activations.
    value = torch.addmm(layer.b, x, layer.w, beta=2, alpha=2).sigmoid_()
    slope, bend, out = (torch.empty_like(value) for _ in range(3))
    arrays = _numpy(value, _idt(layer), _source(x, layer), slope, bend, out)
    one = arrays[0].dtype.type(1)
    _compiled().tanh_layer(*arrays[:3], tuple(arrays[3:]), one)
    return value, slope, bend, out


def _any(
    x: Tensor, layer: Layer, activation: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return value, slope, curvature and output of any layer."""
    function = ACTIVATIONS[activation]
    a = torch.addmm(layer.b, x, layer.w)
    value = function.value(a)
    out = value.clone() if layer.idt is None else value * layer.idt
    for part in out.chunk(layer.repeats, dim=1) if layer.repeats else ():
        part += x
    return value, function.slope(a, value), function.curvature(a, value), out


def backward(done: Pass) -> Float[Tensor, "atom component"]:
    """Return dE/dD of each atom, and note the way; see ``reference.backward``."""
    compiled, hidden = _compiled(), done.layers[:-1]
    grad = done.layers[-1].w.T.repeat(len(done.energy), 1)
    grads, deltas = [], []
    for layer, slope in zip(hidden[::-1], done.slopes[::-1], strict=True):
        delta = torch.empty_like(slope)
        compiled.backward(*_numpy(grad, slope, _idt(layer), delta))
        grads.append(grad)
        deltas.append(delta)
        grad = _to_input(delta, grad, layer)
    done.grads[:], done.deltas[:] = grads[::-1], deltas[::-1]
    return grad


def tangent(
    done: Pass, descriptor_dot: Float[Tensor, "atom component"]
) -> tuple[Float[Tensor, " atom"], Tangent]:
    """Return the energies' change along the descriptor's; see ``reference.tangent``."""
    compiled = _compiled()
    x = descriptor_dot.contiguous()
    inputs, inners = [x], []
    for layer, slope in zip(done.layers[:-1], done.slopes, strict=True):
        inner = torch.mm(x, layer.w)
        out = torch.empty_like(inner)
        source = _source(x, layer)
        compiled.tangent(*_numpy(inner, slope, _idt(layer), source, out))
        x = out
        inputs.append(x)
        inners.append(inner)
    energy = torch.mv(x, done.layers[-1].w[:, 0])
    return energy, Tangent(inputs=inputs, arguments=inners)


def tangent_backward(done: Pass, along: Tangent) -> Float[Tensor, "atom component"]:
    """Return the change of dE/dD along the tangent; see ``reference``."""
    if len(done.deltas) != len(done.slopes):
        backward(done)
    compiled = _compiled()
    grad = torch.zeros_like(along.inputs[-1])
    grads, deltas = [], []
    for index in range(len(done.slopes) - 1, -1, -1):
        layer, inner = done.layers[index], along.arguments[index]
        delta = torch.empty_like(inner)
        ends = _numpy(grad, done.slopes[index], done.bends[index])
        way = tuple(_numpy(done.grads[index], inner))
        compiled.tangent_backward(*ends, way, *_numpy(_idt(layer), delta))
        grads.append(grad)
        deltas.append(delta)
        grad = _to_input(delta, grad, layer)
    along.grads[:], along.deltas[:] = grads[::-1], deltas[::-1]
    return grad


def weight_gradients(
    done: Pass,
    along: Tangent,
    eps: Float[Tensor, " atom"],
    *,
    out: Sequence[Layer] | None = None,
) -> list[Layer]:
    """Return the gradient of sum_a (eps_a E_a + E'_a); see ``reference``."""
    if len(along.deltas) != len(along.arguments):
        tangent_backward(done, along)
    if out is None:
        out = [_like(layer) for layer in done.layers]
    eps = eps.contiguous()
    for index, target in enumerate(out[:-1]):
        delta, both = done.deltas[index], torch.empty_like(done.deltas[index])
        numbers = _numpy(delta, along.deltas[index], eps, both, target.b)
        _compiled().weigh(*numbers)
        torch.mm(along.inputs[index].T, delta, out=target.w)
        target.w.addmm_(done.inputs[index].T, both)
        if target.idt is not None:
            grads = tuple(_numpy(done.grads[index], along.grads[index]))
            values, slope = done.values[index], done.slopes[index]
            rest = _numpy(values, slope, along.arguments[index], eps, target.idt)
            _compiled().time_step(grads, *rest)
    last = out[-1]
    torch.sum(along.inputs[-1], 0, out=last.w[:, 0])
    last.w[:, 0].addmv_(done.inputs[-1].T, eps)
    torch.sum(eps, 0, keepdim=True, out=last.b)
    return list(out)


def infer(
    descriptor: Float[Tensor, "atom component"],
    layers: Sequence[Layer],
    activation: str,
) -> tuple[Float[Tensor, " atom"], Float[Tensor, "atom component"]]:
    """Return each atom's energy and its derivative by the descriptor.

    Keeps only what the way back needs.
    """
    if ACTIVATIONS[activation] is not ACTIVATIONS["tanh"]:
        done = forward(descriptor, layers, activation)
        return done.energy, backward(done)
    compiled = _compiled()
    x = descriptor.contiguous()
    slopes = []
    for layer in layers[:-1]:
        value = torch.addmm(layer.b, x, layer.w, beta=2, alpha=2).sigmoid_()
        slope = torch.empty_like(value)
        arrays = _numpy(value, _idt(layer), _source(x, layer), slope)
        compiled.tanh_slope(*arrays, arrays[0].dtype.type(1))
        slopes.append(slope)
        x = value
    energy = _output(x, layers[-1])
    grad = layers[-1].w.T.expand(len(x), -1)
    for layer, slope in zip(layers[-2::-1], slopes[::-1], strict=True):
        grad = _to_input(slope.mul_(grad), grad, layer)
    return energy, grad


def check(dtype: torch.dtype) -> float:
    """Return the largest relative error against the reference on a small problem."""
    from dpbench.kernels.fitting import compiled

    return largest_error(compiled, reference, dtype)


def _output(x: Tensor, layer: Layer) -> Float[Tensor, " atom"]:
    """Return x w + b; torch.addmv would make one row of none."""
    return torch.mv(x, layer.w[:, 0]).add_(layer.b)


def _to_input(delta: Tensor, grad: Tensor, layer: Layer) -> Tensor:
    """Turn the gradients by a and by the layer's output into that by its input."""
    if layer.repeats == 1:
        return torch.addmm(grad, delta, layer.w.T)
    found = torch.mm(delta, layer.w.T)
    for part in grad.chunk(layer.repeats, dim=1) if layer.repeats else ():
        found += part
    return found


def _source(x: Tensor, layer: Layer) -> Tensor:
    """Return what the shortcut adds: x, or no columns."""
    return x if layer.repeats else x.new_empty(len(x), 0)


def _idt(layer: Layer) -> Tensor:
    return torch.ones_like(layer.b) if layer.idt is None else layer.idt


def _like(layer: Layer) -> Layer:
    idt = None if layer.idt is None else torch.empty_like(layer.idt)
    return Layer(torch.empty_like(layer.w), torch.empty_like(layer.b), idt)


def _numpy(*tensors: Tensor) -> list[Any]:
    return [tensor.detach().numpy() for tensor in tensors]


def _compiled() -> Any:
    """Import the numba passes when they are first needed."""
    from dpbench.kernels.fitting import cpu

    return cpu
