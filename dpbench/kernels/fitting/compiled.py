"""The passes through a fitting net on CPUs: torch products, and little between them.

Slope and curvature are formed once, on the way forward, in one numba pass, and the time
step is multiplied into them; each later pass is one or two fused operations of torch a
layer, whose calls cost less than numba's. Nothing is copied: gradients of weights are
written where they are wanted.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dpbench.kernels.activations import ACTIVATIONS
from dpbench.kernels.fitting import reference
from dpbench.kernels.fitting.packed import Packed, pack
from dpbench.kernels.fitting.states import Pass, Tangent
from dpbench.kernels.fitting.trial import largest_error
from dpbench.kernels.layers import Layer
from dpbench.shapes import Float

__all__ = [
    "backward",
    "check",
    "forward",
    "infer",
    "pack",
    "tangent",
    "tangent_backward",
    "weight_gradients",
]


def forward(
    descriptor: Float[Tensor, "atom component"],
    layers: Sequence[Layer],
    activation: str,
) -> Pass:
    """Evaluate the net; see ``reference.forward``."""
    is_tanh = ACTIVATIONS[activation] is ACTIVATIONS["tanh"]
    x = descriptor.contiguous()
    inputs, steps = [x], []
    for layer in layers[:-1]:
        step = _tanh(x, layer) if is_tanh else _any(x, layer, activation)
        x = step.out
        inputs.append(x)
        steps.append(step)
    return Pass(
        layers=list(layers),
        activation=activation,
        energy=_output(x, layers[-1]),
        inputs=inputs,
        values=[step.value for step in steps],
        arguments=[step.argument for step in steps if step.argument is not None],
        slopes=[step.slope for step in steps],
        bends=[step.bend for step in steps],
    )


class _Step(NamedTuple):
    """A layer evaluated; slope and bend have the time step in them."""

    value: Tensor
    slope: Tensor
    bend: Tensor
    out: Tensor
    argument: Tensor | None


def _tanh(x: Tensor, layer: Layer) -> _Step:
    # tanh(a) = 2 sigmoid(2 a) - 1; see kernels.activations.
    value = torch.addmm(layer.b, x, layer.w, beta=2, alpha=2).sigmoid_()
    slope, bend, out = (torch.empty_like(value) for _ in range(3))
    arrays = _numpy(value, _idt(layer), _source(x, layer), slope, bend, out)
    _compiled().tanh_layer(*arrays, arrays[0].dtype.type(1))
    return _Step(value, slope, bend, out, None)


def _any(x: Tensor, layer: Layer, activation: str) -> _Step:
    function, idt = ACTIVATIONS[activation], _idt(layer)
    a = torch.addmm(layer.b, x, layer.w)
    value = function.value(a)
    out = value * idt
    _add_parts(out, x, layer)
    slope = function.slope(a, value) * idt
    return _Step(value, slope, function.curvature(a, value) * idt, out, a)


def backward(
    done: Pass, *, out: Float[Tensor, "atom component"] | None = None
) -> Float[Tensor, "atom component"]:
    """Return dE/dD of each atom, and note the way; see ``reference.backward``."""
    grad = done.layers[-1].w.T.repeat(len(done.energy), 1)
    grads, deltas = [], []
    for index in range(len(done.slopes) - 1, -1, -1):
        delta = torch.mul(grad, done.slopes[index])
        grads.append(grad)
        deltas.append(delta)
        target = None if index else out
        grad = _to_input(delta, grad, done.layers[index], target)
    done.grads[:], done.deltas[:] = grads[::-1], deltas[::-1]
    return _written(grad, out)


def tangent(
    done: Pass, descriptor_dot: Float[Tensor, "atom component"]
) -> tuple[Float[Tensor, " atom"], Tangent]:
    """Return the energies' change along the descriptor's; see ``reference.tangent``."""
    x = descriptor_dot.contiguous()
    inputs, inners = [x], []
    for layer, slope in zip(done.layers[:-1], done.slopes, strict=True):
        inner = torch.mm(x, layer.w)
        if layer.repeats == 1:
            x = torch.addcmul(x, inner, slope)
        else:
            out = torch.mul(inner, slope)
            _add_parts(out, x, layer)
            x = out
        inputs.append(x)
        inners.append(inner)
    energy = torch.mv(x, done.layers[-1].w[:, 0])
    return energy, Tangent(inputs=inputs, arguments=inners)


def tangent_backward(
    done: Pass, along: Tangent, *, out: Float[Tensor, "atom component"] | None = None
) -> Float[Tensor, "atom component"]:
    """Return the change of dE/dD along the tangent; see ``reference``."""
    if len(done.deltas) != len(done.slopes):
        backward(done)
    # The output layer is linear: nothing comes from beyond the last hidden one.
    grad = torch.zeros_like(along.inputs[-1])
    grads: list[Tensor] = []
    deltas: list[Tensor] = []
    for index in range(len(done.slopes) - 1, -1, -1):
        delta = torch.mul(done.grads[index], done.bends[index])
        delta.mul_(along.arguments[index])
        if deltas:
            delta.addcmul_(grad, done.slopes[index])
        grads.append(grad)
        deltas.append(delta)
        target = None if index else out
        grad = _to_input(delta, grad, done.layers[index], target)
    along.grads[:], along.deltas[:] = grads[::-1], deltas[::-1]
    return _written(grad, out)


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
        out = [layer.empty_like() for layer in done.layers]
    eps = eps.contiguous()
    for index, target in enumerate(out[:-1]):
        delta = done.deltas[index]
        both = torch.empty_like(delta)
        ways = delta, along.deltas[index], eps, both, target.b
        _compiled().weigh(*_numpy(*ways))
        torch.mm(along.inputs[index].T, delta, out=target.w)
        target.w.addmm_(done.inputs[index].T, both)
        if target.idt is not None:
            _time_step(done, along, index, eps, target.idt)
    last = out[-1]
    torch.sum(along.inputs[-1], 0, out=last.w[:, 0])
    last.w[:, 0].addmv_(done.inputs[-1].T, eps)
    torch.sum(eps, 0, keepdim=True, out=last.b)
    return list(out)


def _time_step(
    done: Pass, along: Tangent, index: int, eps: Tensor, target: Tensor
) -> None:
    """Write the gradient by a layer's time step: sum of h f(a) + g f'(a) a'."""
    values, inner = done.values[index], along.arguments[index]
    grads = done.grads[index], along.grads[index]
    if done.arguments:
        function = ACTIVATIONS[done.activation]
        slope = function.slope(done.arguments[index], values)
        both = torch.addcmul(grads[1], grads[0], eps[:, None])
        torch.sum(both * values + grads[0] * slope * inner, 0, out=target)
        return
    arrays = _numpy(values, inner, eps, target)
    one = arrays[0].dtype.type(1)
    _compiled().time_step(tuple(_numpy(*grads)), *arrays, one)


def infer(
    descriptor: Float[Tensor, "atom component"],
    layers: Sequence[Layer] | Packed,
    activation: str,
) -> tuple[Float[Tensor, " atom"], Float[Tensor, "atom component"]]:
    """Return each atom's energy and its derivative by the descriptor.

    Keeps only what the way back needs.

    Args:
        descriptor: Input of the net, atoms of one type.
        layers: The net, or what ``pack`` made of it.
        activation: Name of the hidden layers' activation function.
    """
    packed = layers if isinstance(layers, Packed) else Packed(layers=tuple(layers))
    net = packed.layers
    if ACTIVATIONS[activation] is not ACTIVATIONS["tanh"]:
        done = forward(descriptor, net, activation)
        return done.energy, backward(done)
    is_packed = bool(packed.forward) and len(descriptor) > 0
    compiled = _compiled()
    x = descriptor.contiguous()
    slopes = []
    for index, layer in enumerate(net[:-1]):
        if is_packed:
            value = packed.ahead(x, index).sigmoid_()
        else:
            value = torch.addmm(layer.b, x, layer.w, beta=2, alpha=2).sigmoid_()
        slope = torch.empty_like(value)
        arrays = _numpy(value, _idt(layer), _source(x, layer), slope)
        compiled.tanh_slope(*arrays, arrays[0].dtype.type(1))
        slopes.append(slope)
        x = value
    energy = _output(x, net[-1])
    grad = net[-1].w.T.expand(len(x), -1)
    for index in range(len(slopes) - 1, -1, -1):
        delta = slopes[index].mul_(grad)
        if is_packed:
            below = packed.back(delta, index)
            _add_adjoint(below, grad, net[index])
            grad = below
        else:
            grad = _to_input(delta, grad, net[index], None)
    return energy, grad


def check(dtype: torch.dtype) -> float:
    """Return the largest relative error against the reference on a small problem."""
    from dpbench.kernels.fitting import compiled

    return largest_error(compiled, reference, dtype)


def _output(x: Tensor, layer: Layer) -> Float[Tensor, " atom"]:
    """Return x w + b; torch.addmv would make one row of none."""
    return torch.mv(x, layer.w[:, 0]).add_(layer.b)


def _to_input(delta: Tensor, grad: Tensor, layer: Layer, out: Tensor | None) -> Tensor:
    """Turn the gradients by a and by the layer's output into that by its input."""
    if layer.repeats == 1:
        return torch.addmm(grad, delta, layer.w.T, out=out)
    found = torch.mm(delta, layer.w.T, out=out)
    _add_adjoint(found, grad, layer)
    return found


def _add_adjoint(found: Tensor, grad: Tensor, layer: Layer) -> None:
    """Add what reaches a layer's input through the shortcut."""
    for part in grad.chunk(layer.repeats, dim=1) if layer.repeats else ():
        found += part


def _add_parts(out: Tensor, x: Tensor, layer: Layer) -> None:
    """Add the shortcut to a layer's output."""
    for part in out.chunk(layer.repeats, dim=1) if layer.repeats else ():
        part += x


def _written(found: Tensor, out: Tensor | None) -> Tensor:
    """Return the result where it is wanted; a net without hidden layers copies."""
    return found if out is None or found is out else out.copy_(found)


def _source(x: Tensor, layer: Layer) -> Tensor:
    """Return what the shortcut adds: x, or no columns."""
    return x if layer.repeats else x.new_empty(len(x), 0)


def _idt(layer: Layer) -> Tensor:
    return torch.ones_like(layer.b) if layer.idt is None else layer.idt


def _numpy(*tensors: Tensor) -> list[Any]:
    return [tensor.detach().numpy() for tensor in tensors]


def _compiled() -> Any:
    """Import the numba passes when they are first needed."""
    from dpbench.kernels.fitting import cpu

    return cpu
