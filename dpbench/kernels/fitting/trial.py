"""A small problem on which the variants of the fitting net are compared."""

import itertools
from types import ModuleType

import torch
from torch import Tensor

from dpbench.kernels.layers import Layer


def largest_error(found: ModuleType, expected: ModuleType, dtype: torch.dtype) -> float:
    """Return the largest error of all passes, relative to each result's largest number.

    Args:
        found: The variant to judge.
        expected: The reference.
        dtype: Precision of the numbers.
    """
    pairs = zip(_results(found, dtype), _results(expected, dtype), strict=True)
    errors = []
    for one, other in pairs:
        scale = other.abs().max().clamp(min=torch.finfo(dtype).tiny)
        errors.append((one.double() - other.double()).abs().max() / scale.double())
    # A NaN must not hide: max of Python would drop it.
    return float(torch.stack(errors).max())


def _results(module: ModuleType, dtype: torch.dtype) -> list[Tensor]:
    natoms, widths = 37, (20, 24, 24, 48, 1)
    layers = []
    for index, (n_in, n_out) in enumerate(itertools.pairwise(widths)):
        w = _numbers(n_in, n_out, dtype=dtype) / n_in**0.5
        hidden = n_out in (n_in, 2 * n_in)
        idt = _numbers(n_out, dtype=dtype) if hidden else None
        layers.append(Layer(w, _numbers(n_out, dtype=dtype) + index, idt))
    descriptor = _numbers(natoms, widths[0], dtype=dtype)
    done = module.forward(descriptor, layers, "tanh")
    grad = module.backward(done)
    energy_dot, along = module.tangent(done, descriptor.flip(0))
    grad_dot = module.tangent_backward(done, along)
    weights = module.weight_gradients(done, along, _numbers(natoms, dtype=dtype))
    flat = [tensor for layer in weights for tensor in layer if tensor is not None]
    inferred = module.infer(descriptor, layers, "tanh")
    packed = getattr(module, "pack", tuple)(layers)
    inferred += module.infer(descriptor, packed, "tanh")
    return [done.energy, grad, energy_dot, grad_dot, *flat, *inferred]


def _numbers(*shape: int, dtype: torch.dtype) -> Tensor:
    """Return numbers in [-1, 1] that look random, the same everywhere."""
    count = int(torch.tensor(shape).prod())
    return (
        torch.sin(torch.arange(1, count + 1, dtype=torch.float64) ** 2)
        .view(*shape)
        .to(dtype)
    )
