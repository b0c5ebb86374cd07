"""Tables by forward jets and Hermite's formula; their adjoint by autograd.

A jet is a value with its first and second derivative by the net's one input. Jets at
the ends of an interval fix its polynomial. Everything is done in float64: differences
of float32 values would cost the slope four digits.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dpbench.kernels.activations import ACTIVATIONS
from dpbench.kernels.layers import Layer
from dpbench.kernels.tables.pieces import (
    Grid,
    Tables,
    double_layers,
    knots,
    padded_width,
)
from dpbench.shapes import Float, Float64

HERMITE = (
    (1, 0, 0, 0, 0, 0),
    (0, 1, 0, 0, 0, 0),
    (0, 0, 1, 0, 0, 0),
    (-10, -6, -3, 10, -4, 1),
    (15, 8, 3, -15, 7, -2),
    (-6, -3, -1, 6, -3, 1),
)
"""From value, slope * step and curvature * step^2 / 2 at both ends to c[0..5]."""


def make_tables(
    nets: Sequence[Sequence[Layer]], activation: str, grid: Grid, dtype: torch.dtype
) -> Tables:
    """Tabulate nets of one input.

    Args:
        nets: Layers of each net, all of the same last width.
        activation: Name of the activation function.
        grid: Intervals of each net.
        dtype: Of the coefficients.
    """
    width, padded = padded_width(nets)
    with torch.no_grad():
        exact = _coefficients(
            [double_layers(layers) for layers in nets], activation, grid
        )
    coefficients = exact.new_zeros(len(exact), 6, padded, dtype=dtype)
    coefficients[:, :, :width] = exact
    return Tables(
        lower=grid.lower,
        step=grid.step,
        first=grid.first,
        coefficients=coefficients,
        width=width,
    )


def tables_adjoint(
    nets: Sequence[Sequence[Layer]],
    activation: str,
    grid: Grid,
    coefficient_gradient: Float[Tensor, "row 6 channel"],
    *,
    tables: Tables | None = None,
) -> list[list[Layer]]:
    """Turn the gradient by a table's coefficients into that by the nets' parameters.

    Args:
        nets: Layers of each net.
        activation: Name of the activation function.
        grid: As given to ``make_tables``.
        coefficient_gradient: Shaped as the table's coefficients; the rows of the lines
            beyond the ends may be left out.
        tables: The table made of the same nets; other variants save work by it.

    Returns:
        Gradients in the place of the parameters, in their precision.
    """
    width, _ = padded_width(nets)
    copies = [double_layers(layers) for layers in nets]
    leaves = [t for net in copies for layer in net for t in layer if t is not None]
    with torch.enable_grad():
        for leaf in leaves:
            leaf.requires_grad_()
        coefficients = _coefficients(copies, activation, grid)
        count = len(coefficient_gradient)
        weights = coefficient_gradient[:, :, :width].to(torch.float64)
        loss = (coefficients[:count] * weights).sum()
    gradients = iter(torch.autograd.grad(loss, leaves, materialize_grads=True))
    found: list[list[Layer]] = []
    for layers in nets:
        found.append([])
        for layer in layers:
            w, b = (next(gradients).to(tensor.dtype) for tensor in layer[:2])
            idt = None if layer.idt is None else next(gradients).to(layer.idt.dtype)
            found[-1].append(Layer(w, b, idt))
    return found


def jets(
    s: Float[Tensor, " point"], layers: Sequence[Layer], activation: str
) -> Float[Tensor, "3 point channel"]:
    """Return a net's values, first and second derivatives by its one input.

    Args:
        s: Arguments.
        layers: Layers of the net; differentiable by their parameters.
        activation: Name of the activation function.
    """
    function = ACTIVATIONS[activation]
    one = torch.ones_like(s)
    x = torch.stack([s, one, torch.zeros_like(s)]).unsqueeze(2)
    for layer in layers:
        z = x @ layer.w
        a, da, dda = z[0] + layer.b, z[1], z[2]
        y = function.value(a)
        slope = function.slope(a, y)
        bend = function.curvature(a, y)
        out = torch.stack([y, slope * da, bend * da * da + slope * dda])
        if layer.idt is not None:
            out = out * layer.idt
        if layer.repeats:
            out = out + torch.cat([x] * layer.repeats, dim=2)
        x = out
    return x


def _coefficients(
    nets: Sequence[Sequence[Layer]], activation: str, grid: Grid
) -> Float64[Tensor, "row 6 width"]:
    """Put Hermite's pieces of all nets and the lines beyond their ends together."""
    pieces, lines = [], []
    for net, layers in enumerate(nets):
        # The grid may lie on the host while the nets lie on a GPU.
        points = knots(grid, net).to(layers[0].w.device)
        width = layers[-1].w.shape[1]
        if not len(points):
            lines.append(points.new_zeros(2, 6, width))
            continue
        step = grid.step[net].to(points.device)
        scale = torch.stack([torch.ones_like(step), step, step * step / 2])
        ends = jets(points, layers, activation) * scale[:, None, None]
        data = torch.cat([ends[:, :-1], ends[:, 1:]])
        matrix = torch.tensor(HERMITE, dtype=points.dtype, device=points.device)
        pieces.append(torch.einsum("nd,dkc->knc", matrix, data))
        line = torch.cat([ends[:2, [0, -1]], torch.zeros_like(ends[:2, [0, -1]])])
        zeros = torch.zeros_like(line[:2])
        lines.append(torch.cat([line, zeros]).transpose(0, 1))
    return torch.cat([*pieces, *lines])
