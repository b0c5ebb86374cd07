"""A small problem on which the variants of the tables are compared."""

from types import ModuleType

import torch
from torch import Tensor

from dpbench.kernels.layers import Layer
from dpbench.kernels.tables.evaluate import evaluate
from dpbench.kernels.tables.pieces import Tables, grid_for, locate

WIDTHS = (1, 6, 12, 24)
INTERVALS = 240


def largest_error(found: ModuleType, expected: ModuleType, dtype: torch.dtype) -> float:
    """Return the largest error of values, slopes and the nets' gradients.

    Each is relative to the largest number of its kind. Variants may differ in their
    coefficients: they agree in what is read from the table, on a fine grid.

    Args:
        found: The variant to judge.
        expected: The reference.
        dtype: Precision of table and gradient.
    """
    pairs = zip(_results(found, dtype), _results(expected, dtype), strict=True)
    errors = []
    for one, other in pairs:
        scale = other.double().abs().max().clamp(min=1e-300)
        errors.append((one.double() - other.double()).abs().max() / scale)
    # A NaN must not hide: max of Python would drop it.
    return float(torch.stack(errors).max())


def _results(module: ModuleType, dtype: torch.dtype) -> list[Tensor]:
    low = torch.tensor([-0.4, 0.1], dtype=torch.float64)
    grid = grid_for(low, low + 1.5, [INTERVALS, INTERVALS - 3])
    nets = [_net(net, dtype) for net in range(2)]
    tables = module.make_tables(nets, "tanh", grid, dtype)
    results, gradient = [], torch.zeros_like(tables.coefficients)
    for net in range(2):
        # Reaches beyond both ends.
        s = torch.linspace(-0.1, 1.6, 53, dtype=torch.float64) + low[net]
        read = evaluate(tables, net, s)
        results += [read.value, read.slope]
        _add_gradient(tables, net, s, gradient)
    for layers in module.tables_adjoint(nets, "tanh", grid, gradient):
        results += [
            tensor for layer in layers for tensor in layer if tensor is not None
        ]
    return results


def _add_gradient(tables: Tables, net: int, s: Tensor, gradient: Tensor) -> None:
    """Add the coefficients' gradient of some sum over values and slopes at ``s``."""
    place = locate(tables.grid, net, s)
    powers = torch.arange(6, dtype=torch.float64)
    x = place.x[:, None]
    by_slope = powers * x ** (powers - 1).clamp(min=0) / tables.step[net]
    for weights, channel_seed in ((x**powers, 1), (by_slope, 2)):
        channels = numbers(len(s), WIDTHS[-1], dtype=torch.float64, seed=channel_seed)
        share = weights[:, :, None] * channels[:, None, :]
        gradient[:, :, : tables.width].index_add_(
            0, place.row, share.to(gradient.dtype)
        )


def _net(net: int, dtype: torch.dtype) -> list[Layer]:
    layers = []
    for index, n_in in enumerate(WIDTHS[:-1]):
        n_out = WIDTHS[index + 1]
        w, b, idt = (
            numbers(*shape, dtype=dtype, seed=10 * net + index)
            for shape in ((n_in, n_out), (n_out,), (n_out,))
        )
        layers.append(Layer(w / n_in**0.5, b, idt if n_out == 2 * n_in else None))
    return layers


def numbers(*shape: int, dtype: torch.dtype, seed: int) -> Tensor:
    """Return numbers in [-1, 1] that look random, the same everywhere."""
    count = int(torch.tensor(shape).prod())
    index = torch.arange(1, count + 1, dtype=torch.float64) + 0.37 * seed
    return torch.sin(index**2).view(*shape).to(dtype)
