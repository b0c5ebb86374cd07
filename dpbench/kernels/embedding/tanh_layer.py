"""A tanh layer on values and tangents, on CPU tensors: torch products, numba passes."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from dpbench.kernels.layers import Layer
from dpbench.shapes import Float

Pair = tuple[Tensor, Tensor]
"""Values and tangents, or the gradients of both; each (row, n)."""


class TanhStep(NamedTuple):
    """One layer of one block, kept for the way back."""

    x: Float[Tensor, "2 row n_in"]
    """Input values and tangents."""
    z: Float[Tensor, "2 row n_out"]
    """sigmoid(2 a) and a'."""


def forward(x: Float[Tensor, "2 row n_in"], layer: Layer, out: Pair) -> TanhStep:
    """Apply the layer to ``x`` and write values and tangents to ``out``."""
    compiled = _compiled()
    n_in, n_out = layer.w.shape
    z = torch.mm(x.view(-1, n_in), layer.w).view(2, -1, n_out)
    compiled.twice_shifted(z[0].numpy(), _array(layer.b))
    z[0].sigmoid_()
    arrays = [tensor.numpy() for tensor in (*z, *out)]
    idt = _idt(layer)
    compiled.forward(arrays[0], arrays[1], idt, arrays[2], arrays[3], idt.dtype.type(1))
    if layer.repeats:
        compiled.add_shortcut(arrays[2], x[0].numpy())
        compiled.add_shortcut(arrays[3], x[1].numpy())
    return TanhStep(x, z)


def backward(grads: Pair, step: TanhStep, layer: Layer) -> Float[Tensor, "2 row n_out"]:
    """Turn the gradients of the layer's output into those of a and a'."""
    grad_z = torch.empty_like(step.z)
    idt = _idt(layer)
    _compiled().backward(
        step.z[0].numpy(),
        step.z[1].numpy(),
        idt,
        (grads[0].numpy(), grads[1].numpy()),
        grad_z.numpy(),
        idt.dtype.type(1),
    )
    return grad_z


def accumulate(total: Layer, grads: Pair, grad_z: Tensor, step: TanhStep) -> None:
    """Add a block's share to the gradients of the layer's parameters."""
    total.w.addmm_(step.x.flatten(0, 1).T, grad_z.flatten(0, 1))
    total.b.add_(grad_z[0].sum(0))
    if total.idt is not None:
        y = step.z[0] * 2 - 1
        total.idt.add_((grads[0] * y).sum(0))
        total.idt.add_((grads[1] * (1 - y * y) * step.z[1]).sum(0))


def to_input(grads: Pair, grad_z: Tensor, layer: Layer) -> Pair:
    """Turn the gradients of the layer's output into those of its input."""
    grad_x = torch.mm(grad_z.flatten(0, 1), layer.w.T).view(2, -1, layer.w.shape[0])
    if layer.repeats:
        for part, grad in zip(grad_x, grads, strict=True):
            _compiled().add_shortcut_adjoint(part.numpy(), grad.numpy())
    return grad_x[0], grad_x[1]


def _idt(layer: Layer) -> Any:
    idt = layer.b.new_ones(layer.b.shape) if layer.idt is None else layer.idt
    return _array(idt)


def _array(tensor: Tensor) -> Any:
    return tensor.detach().contiguous().numpy()


def _compiled() -> Any:
    """Import the numba passes when they are first needed, on CPU tensors only."""
    from dpbench.kernels.embedding import cpu

    return cpu
