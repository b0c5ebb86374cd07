"""The embedding net and its derivative, in blocks that stay in a core's cache.

The result is that of ``layers.embed_reference``. Three things make it fast. Values and
tangents are stacked, so that each layer takes one matrix product forward, and one for
each gradient. Edges are handled in blocks. And the way back recomputes a block instead
of reading tens of megabytes that the way forward would have to save.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dpbench.kernels.activations import ACTIVATIONS, ActivationFunction
from dpbench.kernels.embedding import tanh_layer
from dpbench.kernels.layers import Layer
from dpbench.shapes import Float

CPU_BLOCK = 512
"""Edges in a block: 0.8 MB of float64 in a layer of width 100."""

GPU_BLOCK = 1 << 20
"""Edges in a block on a GPU: bounds memory only."""


def embed(
    s: Float[Tensor, " edge"], layers: Sequence[Layer], activation: str
) -> tuple[Float[Tensor, "edge feature"], Float[Tensor, "edge feature"]]:
    """Evaluate an embedding net and its derivative by its one input.

    Differentiable once by the parameters; ``s`` is a constant.

    Args:
        s: Normalised radial column of the environment matrix.
        layers: All layers of the net; the first takes one number.
        activation: Name of the activation function.

    Returns:
        G(s) and dG/ds.
    """
    flat = [tensor for layer in layers for tensor in layer]
    function = ACTIVATIONS[activation]
    both = _Embedding.apply(s, function, *flat)  # type: ignore[no-untyped-call]
    features, slopes = both
    return features, slopes


class _Step(NamedTuple):
    """One layer of one block, kept for the way back."""

    x: Float[Tensor, "2 row n_in"]
    """Input values and tangents."""
    z: Float[Tensor, "2 row n_out"]
    """a = x W + b and a' = x' W."""
    y: Float[Tensor, "row n_out"]
    """f(a)."""
    slope: Float[Tensor, "row n_out"]
    """f'(a)."""


class _Embedding(torch.autograd.Function):
    """y = f(a) idt + shortcut(x), y' = f'(a) a' idt + shortcut(x'), layer by layer."""

    @staticmethod
    def forward(ctx: Any, s: Tensor, function: ActivationFunction, *flat: Any) -> Any:
        layers = _group(flat)
        width = layers[-1].w.shape[1]
        features, slopes = s.new_empty(len(s), width), s.new_empty(len(s), width)
        for block in _blocks(s):
            out = features[block], slopes[block]
            if _is_compiled(s, function):
                _tanh_forward(s[block], layers, out)
                continue
            x = _stack(s[block])
            for layer in layers:
                x = _forward(x, layer, function)[1]
            out[0].copy_(x[0])
            out[1].copy_(x[1])
        ctx.save_for_backward(s, *flat)
        ctx.function = function
        return features, slopes

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        s, *flat = ctx.saved_tensors
        layers = _group(flat)
        totals = [None if t is None else torch.zeros_like(t) for t in flat]
        sums = _group(totals)
        for block in _blocks(s):
            if _is_compiled(s, ctx.function):
                pair = grads[0][block].contiguous(), grads[1][block].contiguous()
                _tanh_backward(s[block], layers, sums, pair)
                continue
            x, steps = _stack(s[block]), []
            for layer in layers:
                step, x = _forward(x, layer, ctx.function)
                steps.append(step)
            grad = torch.stack([grads[0][block], grads[1][block]])
            for index in range(len(layers) - 1, -1, -1):
                grad_z = _backward(grad, steps[index], layers[index], ctx.function)
                _accumulate(sums[index], grad, grad_z, steps[index])
                if index:
                    grad = _to_input(grad, grad_z, layers[index])
        return None, None, *totals


def _is_compiled(s: Tensor, function: ActivationFunction) -> bool:
    """Say whether the compiled tanh layer serves."""
    return s.device.type == "cpu" and function is ACTIVATIONS["tanh"]


def _tanh_forward(
    s: Tensor, layers: Sequence[Layer], out: tanh_layer.Pair | None
) -> list[tanh_layer.TanhStep]:
    """Run a block forward; the last layer writes to ``out``, if that is wanted."""
    x, steps = _stack(s), []
    for index, layer in enumerate(layers):
        is_last = index == len(layers) - 1
        y = s.new_empty(2, len(s), layer.w.shape[1])
        target = out if is_last and out is not None else (y[0], y[1])
        steps.append(tanh_layer.forward(x, layer, target))
        x = y
    return steps


def _tanh_backward(
    s: Tensor, layers: Sequence[Layer], sums: Sequence[Layer], grads: tanh_layer.Pair
) -> None:
    """Run a block forward again, then back; add to the parameters' gradients."""
    steps = _tanh_forward(s, layers, None)
    for index in range(len(layers) - 1, -1, -1):
        layer, step = layers[index], steps[index]
        grad_z = tanh_layer.backward(grads, step, layer)
        tanh_layer.accumulate(sums[index], grads, grad_z, step)
        if index:
            grads = tanh_layer.to_input(grads, grad_z, layer)


def _group(flat: Sequence[Any]) -> list[Layer]:
    return [Layer(*flat[start : start + 3]) for start in range(0, len(flat), 3)]


def _blocks(s: Tensor) -> list[slice]:
    size = CPU_BLOCK if s.device.type == "cpu" else GPU_BLOCK
    return [slice(start, start + size) for start in range(0, len(s), size)]


def _stack(s: Tensor) -> Float[Tensor, "2 row 1"]:
    """Put the input above its own derivative, one."""
    return torch.stack([s, torch.ones_like(s)]).unsqueeze(2)


def _forward(
    x: Tensor, layer: Layer, function: ActivationFunction
) -> tuple[_Step, Float[Tensor, "2 row n_out"]]:
    """Apply a layer to values and tangents."""
    _, rows, n_in = x.shape
    z = torch.mm(x.view(-1, n_in), layer.w).view(2, rows, -1)
    a = z[0].add_(layer.b)
    y = function.value(a)
    slope = function.slope(a, y)
    out = torch.empty_like(z)
    torch.mul(slope, z[1], out=out[1])
    if layer.idt is None:
        out[0] = y
    else:
        torch.mul(y, layer.idt, out=out[0])
        out[1].mul_(layer.idt)
    if layer.repeats:
        out.view(2, rows, layer.repeats, n_in).add_(x.unsqueeze(2))
    return _Step(x, z, y, slope), out


def _backward(
    grad: Tensor, step: _Step, layer: Layer, function: ActivationFunction
) -> Float[Tensor, "2 row n_out"]:
    """Turn the gradient of a layer's output into that of a and a'."""
    inner = grad if layer.idt is None else grad * layer.idt
    grad_z = inner * step.slope
    bend = function.curvature(step.z[0], step.y).mul_(step.z[1])
    grad_z[0].addcmul_(bend, inner[1])
    return grad_z


def _accumulate(total: Layer, grad: Tensor, grad_z: Tensor, step: _Step) -> None:
    """Add a block's share to the gradients of a layer's parameters."""
    flat = grad_z.view(-1, grad_z.shape[2])
    total.w.addmm_(step.x.view(-1, step.x.shape[2]).T, flat)
    total.b.add_(grad_z[0].sum(0))
    if total.idt is not None:
        total.idt.add_((grad[0] * step.y).sum(0))
        total.idt.add_((grad[1] * step.slope * step.z[1]).sum(0))


def _to_input(grad: Tensor, grad_z: Tensor, layer: Layer) -> Tensor:
    """Turn the gradient of a layer's output into that of its input."""
    n_in = layer.w.shape[0]
    grad_x = torch.mm(grad_z.view(-1, grad_z.shape[2]), layer.w.T)
    grad_x = grad_x.view(2, -1, n_in)
    if layer.repeats:
        parts = grad.view(2, -1, layer.repeats, n_in)
        for repeat in range(layer.repeats):
            grad_x += parts[:, :, repeat]
    return grad_x
