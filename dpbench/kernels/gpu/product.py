"""Float32 matrix products whose precision is chosen: exact float32, or three TF32.

``tf32x3`` splits each number into two TF32 parts and sums three products, which tensor
cores do several times as fast as plain float32; single TF32 is not offered. Whether its
error is harmless to molecular dynamics only a GPU can show: ``benchmarks/gpu.py``.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from dpbench.kernels.gpu import fitting
from dpbench.kernels.layers import Layer
from dpbench.shapes import Float

Products = Literal["torch", "ieee", "tf32x3"]
"""Who multiplies: torch's library, or the Triton program in one of its precisions."""

TILE = (64, 64, 32)
"""Rows, columns and depth of a program's tile."""


def product(
    a: Float[Tensor, "row depth"],
    b: Float[Tensor, "depth column"],
    base: Float[Tensor, "..."] | None = None,
    *,
    precision: Products = "tf32x3",
) -> Float[Tensor, "row column"]:
    """Return a b + base in float32.

    Args:
        a: Left factor.
        b: Right factor; a transposed view will do.
        base: Added: a row of numbers, a matrix, or nothing.
        precision: ``ieee`` or ``tf32x3``.
    """
    from dpbench.kernels.gpu.programs import product as programs

    a = a.contiguous()
    (rows, depth), columns = a.shape, b.shape[1]
    out = a.new_empty(rows, columns)
    if not out.numel():
        return out
    tall, wide, deep = TILE
    matrix = base is not None and base.dim() == 2
    added = a if base is None else base.contiguous()
    programs.product[(-(-rows // tall), -(-columns // wide))](
        *(a, b, added, out, rows, columns, depth),
        *(a.stride(0), b.stride(0), b.stride(1), columns if matrix else 0),
        PRECISION=precision,
        HAS_BASE=base is not None,
        ROWS=tall,
        COLUMNS=wide,
        DEPTH=deep,
    )
    return out


def infer(
    descriptor: Float[Tensor, "atom component"],
    layers: Sequence[Layer],
    activation: str,
    *,
    products: Products,
) -> tuple[Float[Tensor, " atom"], Float[Tensor, "atom component"]]:
    """Return each atom's energy and its derivative by the descriptor.

    Args:
        descriptor: Atoms of one type.
        layers: Of the fitting net.
        activation: Of the hidden layers; other than tanh goes through torch.
        products: Who multiplies; float64 goes through torch.
    """
    is_served = fitting.is_tanh(activation) and descriptor.dtype == torch.float32
    if products == "torch" or not is_served:
        return fitting.infer(descriptor, layers, activation)
    x, values = descriptor.contiguous(), []
    for layer in layers[:-1]:
        a = product(x, layer.w, layer.b, precision=products)
        x = fitting.activate(a, x, layer)
        values.append(a)
    last = layers[-1]
    energy = torch.addmv(last.b, x, last.w[:, 0])
    grad = last.w.T.expand(len(x), -1).contiguous()
    for layer, value in zip(layers[-2::-1], values[::-1], strict=True):
        delta = fitting.to_argument(grad, value, layer)
        base = grad if layer.repeats == 1 else None
        found = product(delta, layer.w.T, base, precision=products)
        for part in grad.chunk(2, dim=1) if layer.repeats == 2 else ():
            found = found + part
        grad = found
    return energy, grad
