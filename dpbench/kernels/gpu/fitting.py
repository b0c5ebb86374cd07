"""The passes through a fitting net on a GPU: torch's products, Triton between them.

Signatures of ``kernels.fitting``. Nets of another activation than tanh go through the
reference, whose states are the same.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dpbench.kernels.activations import ACTIVATIONS
from dpbench.kernels.fitting import Pass, Tangent, reference
from dpbench.kernels.gpu import launch
from dpbench.kernels.layers import Layer
from dpbench.shapes import Float

FEW_ATOMS = 1024
"""Up to here one program sums a column over all atoms."""


def forward(
    descriptor: Float[Tensor, "atom component"],
    layers: Sequence[Layer],
    activation: str,
) -> Pass:
    """Evaluate the net; see ``reference.forward``."""
    if not is_tanh(activation):
        return reference.forward(descriptor, layers, activation)
    x = descriptor.contiguous()
    inputs, values = [x], []
    for layer in layers[:-1]:
        a = torch.addmm(layer.b, x, layer.w)
        x = activate(a, x, layer)
        values.append(a)
        inputs.append(x)
    last = layers[-1]
    return Pass(
        layers=list(layers),
        activation=activation,
        energy=torch.addmm(last.b, x, last.w)[:, 0],
        inputs=inputs,
        values=values,
    )


def backward(
    done: Pass, *, out: Float[Tensor, "atom component"] | None = None
) -> Float[Tensor, "atom component"]:
    """Return dE/dD of each atom, and note the way; see ``reference.backward``."""
    if not is_tanh(done.activation):
        return reference.backward(done, out=out)
    grad = done.layers[-1].w.T.expand(len(done.energy), -1).contiguous()
    grads, deltas = [], []
    for layer, value in zip(done.layers[-2::-1], done.values[::-1], strict=True):
        delta = to_argument(grad, value, layer)
        grads.append(grad)
        deltas.append(delta)
        grad = _to_input(delta, grad, layer)
    done.grads[:], done.deltas[:] = grads[::-1], deltas[::-1]
    return grad if out is None else out.copy_(grad)


def tangent(
    done: Pass, descriptor_dot: Float[Tensor, "atom component"]
) -> tuple[Float[Tensor, " atom"], Tangent]:
    """Return the energies' change along the descriptor's; see ``reference.tangent``."""
    if not is_tanh(done.activation):
        return reference.tangent(done, descriptor_dot)
    x = descriptor_dot.contiguous()
    inputs, inners = [x], []
    for layer, value in zip(done.layers[:-1], done.values, strict=True):
        inner = x @ layer.w
        out = torch.empty_like(inner)
        _launch(
            "tanh_tangent",
            inner,
            value,
            _idt(layer),
            x,
            out,
            layer=layer,
            shortcut=True,
        )
        inners.append(inner)
        inputs.append(out)
        x = out
    energy = (x @ done.layers[-1].w)[:, 0]
    return energy, Tangent(inputs=inputs, arguments=inners)


def tangent_backward(
    done: Pass, along: Tangent, *, out: Float[Tensor, "atom component"] | None = None
) -> Float[Tensor, "atom component"]:
    """Return the change of dE/dD along the tangent; see ``reference``."""
    if not is_tanh(done.activation):
        return reference.tangent_backward(done, along, out=out)
    if len(done.deltas) != len(done.values):
        backward(done)
    grad = torch.zeros_like(along.inputs[-1])
    grads, deltas = [], []
    for index in range(len(done.values) - 1, -1, -1):
        layer, value = done.layers[index], done.values[index]
        delta = torch.empty_like(value)
        way = grad, done.grads[index], along.arguments[index]
        _launch("tanh_tangent_backward", *way, value, _idt(layer), delta, layer=layer)
        grads.append(grad)
        deltas.append(delta)
        grad = _to_input(delta, grad, layer)
    along.grads[:], along.deltas[:] = grads[::-1], deltas[::-1]
    return grad if out is None else out.copy_(grad)


def weight_gradients(
    done: Pass,
    along: Tangent,
    eps: Float[Tensor, " atom"],
    *,
    out: Sequence[Layer] | None = None,
) -> list[Layer]:
    """Return the gradient of sum_a (eps_a E_a + E'_a); see ``reference``."""
    if not is_tanh(done.activation):
        return reference.weight_gradients(done, along, eps, out=out)
    if len(along.deltas) != len(along.arguments):
        tangent_backward(done, along)
    if out is None:
        out = [layer.empty_like() for layer in done.layers]
    eps = eps.contiguous()
    for index, target in enumerate(out[:-1]):
        both = _weigh(done, along, eps, index, target)
        torch.mm(along.inputs[index].T, done.deltas[index], out=target.w)
        target.w.addmm_(done.inputs[index].T, both)
    last = out[-1]
    last.w.copy_(along.inputs[-1].sum(dim=0)[:, None])
    last.w.addmm_(done.inputs[-1].T, eps[:, None])
    last.b.copy_(eps.sum(dim=0, keepdim=True))
    return list(out)


def infer(
    descriptor: Float[Tensor, "atom component"],
    layers: Sequence[Layer],
    activation: str,
) -> tuple[Float[Tensor, " atom"], Float[Tensor, "atom component"]]:
    """Return each atom's energy and its derivative by the descriptor."""
    done = forward(descriptor, layers, activation)
    return done.energy, backward(done)


def is_tanh(activation: str) -> bool:
    """Say whether the programs know the activation function."""
    return ACTIVATIONS[activation] is ACTIVATIONS["tanh"]


def activate(argument: Tensor, x: Tensor, layer: Layer) -> Tensor:
    """Return tanh(a) idt + shortcut(x); ``argument`` becomes tanh(a)."""
    out = torch.empty_like(argument)
    # The value takes the place of its argument, which nothing needs again.
    ends = x, argument, out
    _launch("tanh_forward", argument, _idt(layer), *ends, layer=layer, shortcut=True)
    return out


def to_argument(grad: Tensor, value: Tensor, layer: Layer) -> Tensor:
    """Return the gradient by a from that by the layer's output."""
    delta = torch.empty_like(value)
    _launch("tanh_backward", grad, value, _idt(layer), delta, layer=layer)
    return delta


def check(dtype: torch.dtype) -> float:
    """Return the largest relative error against the reference on a small problem.

    Raises:
        ImportError: If Triton programs cannot run here; the message says why.
    """
    from dpbench.kernels.gpu.trial import largest_fitting_error

    return largest_fitting_error(dtype)


def _weigh(
    done: Pass, along: Tangent, eps: Tensor, index: int, target: Layer
) -> Tensor:
    """Return delta' + eps delta; write the gradients by bias and time step."""
    delta = done.deltas[index]
    natoms, width = delta.shape
    both = torch.empty_like(delta)
    parts = 1 if natoms <= FEW_ATOMS else 32
    bias, step = (delta.new_empty(parts, width) for _ in range(2))
    columns = 32
    _programs().weigh[(-(-width // columns), parts)](
        *(delta, along.deltas[index], eps, done.values[index], done.grads[index]),
        *(along.grads[index], along.arguments[index], both, bias, step),
        natoms,
        N=width,
        HAS_IDT=target.idt is not None,
        PARTS=parts,
        ROWS=32,
        COLUMNS=columns,
    )
    torch.sum(bias, dim=0, out=target.b)
    if target.idt is not None:
        torch.sum(step, dim=0, out=target.idt)
    return both


def _launch(
    name: str, *tensors: Tensor | None, layer: Layer, shortcut: bool = False
) -> None:
    """Run an elementwise program over arrays of a layer's output."""
    first = tensors[0]
    if first is None or not first.numel():
        return
    block = launch.flat_block()
    constants: dict[str, Any] = {"REPEATS": layer.repeats} if shortcut else {}
    program = getattr(_programs(), name)
    program[(-(-first.numel() // block),)](
        *tensors,
        first.numel(),
        N=layer.w.shape[1],
        HAS_IDT=layer.idt is not None,
        BLOCK=block,
        **constants,
    )


def _to_input(delta: Tensor, grad: Tensor, layer: Layer) -> Tensor:
    """Turn the gradients by a and by the layer's output into that by its input."""
    if layer.repeats == 1:
        return torch.addmm(grad, delta, layer.w.T)
    found = delta @ layer.w.T
    for part in grad.chunk(layer.repeats, dim=1) if layer.repeats else ():
        found = found + part
    return found


def _idt(layer: Layer) -> Tensor:
    """Return the time step, or anything that a program may point at."""
    return layer.b if layer.idt is None else layer.idt


def _programs() -> Any:
    """Import the programs when they are first needed."""
    from dpbench.kernels.gpu.programs import elementwise

    return elementwise
