"""Tables by quintic splines through the nets' values, on CPUs.

A quintic spline through the values at the knots, and at some knots beyond the ends,
has pieces of degree five like those of the reference. Its error is three to four times
theirs on the same grid; 1.3 times the intervals take that back. But it needs one matrix
product a layer instead of three, and its adjoint two instead of six; derivatives of the
net are not needed at all. Values are differenced in float64 whatever the table's type.

Activation functions with kinks get the reference's pieces: a spline would ring.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dpbench.kernels.activations import ACTIVATIONS
from dpbench.kernels.layers import Layer
from dpbench.kernels.tables import reference
from dpbench.kernels.tables.pieces import (
    CHANNEL_BLOCK,
    Grid,
    Tables,
    padded_width,
)
from dpbench.kernels.tables.trial import largest_error
from dpbench.shapes import Float, Float64

BEYOND = 20
"""Knots beyond each end: what the spline does there has faded by 1e-7 at the end."""

KINKED = ("relu", "relu6")
"""Activation functions without a continuous slope."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One layer at all knots of some nets, and what the way back through it needs."""

    w: Float64[Tensor, "net n_in n_out"]
    """Weights."""
    idt: Float64[Tensor, "net n_out"]
    """Time steps; ones where the layer has none."""
    repeats: int
    """How often the input appears in the shortcut."""
    x: Float64[Tensor, "net point n_in"]
    """Input."""
    argument: Float64[Tensor, "net point n_out"] | None
    """a, where the slope does not follow from the value."""
    value: Float64[Tensor, "net point n_out"]
    """f(a)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """Nets of the same widths and number of intervals, evaluated at their knots."""

    nets: tuple[int, ...]
    """Which nets."""
    steps: tuple[Step, ...]
    """Their layers."""


def make_tables(
    nets: Sequence[Sequence[Layer]], activation: str, grid: Grid, dtype: torch.dtype
) -> Tables:
    """Tabulate nets of one input; see ``reference.make_tables``.

    The table keeps what ``tables_adjoint`` needs of the nets' values.
    """
    if activation in KINKED:
        return reference.make_tables(nets, activation, grid, dtype)
    width, padded = padded_width(nets)
    first = grid.first.tolist()
    coefficients = torch.empty(first[-1] + 2 * len(nets), 6, padded, dtype=dtype)
    coefficients[first[-1] :] = 0
    out = coefficients.numpy()
    ways = []
    for group in _groups(nets, first):
        layers = [
            _stack(*alike) for alike in zip(*(nets[n] for n in group), strict=True)
        ]
        s = torch.stack([_points(grid, net) for net in group])
        values, steps = _run(s, layers, activation)
        for net, rows in zip(group, values.numpy(), strict=True):
            lines = out[first[-1] + 2 * net :][:2]
            _compiled().tabulate(rows, BEYOND, out[first[net] : first[net + 1]], lines)
        ways.append(Way(nets=tuple(group), steps=tuple(steps)))
    return Tables(
        lower=grid.lower,
        step=grid.step,
        first=grid.first,
        coefficients=coefficients,
        width=width,
        ways=ways,
    )


def tables_adjoint(
    nets: Sequence[Sequence[Layer]],
    activation: str,
    grid: Grid,
    coefficient_gradient: Float[Tensor, "row 6 channel"],
    *,
    tables: Tables | None = None,
) -> list[list[Layer]]:
    """Turn the gradient by a table into that by the nets; see the reference.

    Args:
        nets: Layers of each net.
        activation: Name of the activation function.
        grid: As given to ``make_tables``.
        coefficient_gradient: Shaped as the table's coefficients, channels included; the
            rows of the lines beyond the ends may be left out.
        tables: The table that ``make_tables`` made of the same nets, as they are now:
            saves their evaluation.
    """
    if activation in KINKED:
        return reference.tables_adjoint(nets, activation, grid, coefficient_gradient)
    if tables is None or tables.ways is None:
        tables = make_tables(nets, activation, grid, coefficient_gradient.dtype)
    first, padded = grid.first.tolist(), tables.coefficients.shape[2]
    if len(coefficient_gradient) == first[-1]:
        none = coefficient_gradient.new_zeros(2 * len(nets), 6, padded)
        coefficient_gradient = torch.cat([coefficient_gradient, none])
    gradient = coefficient_gradient.detach().contiguous().numpy()
    found = [[_zeros(layer) for layer in layers] for layers in nets]
    for way in tables.ways:
        shape = len(way.nets), way.steps[0].x.shape[1], padded
        to_values = torch.empty(shape, dtype=torch.float64)
        for net, rows in zip(way.nets, to_values.numpy(), strict=True):
            lines = gradient[first[-1] + 2 * net :][:2]
            pieces = gradient[first[net] : first[net + 1]]
            _compiled().tabulate_adjoint(pieces, lines, BEYOND, rows)
        _run_back(to_values, way, activation, found)
    return found


def check(dtype: torch.dtype) -> float:
    """Return the largest relative error against the reference on a small problem."""
    from dpbench.kernels.tables import compiled

    return largest_error(compiled, reference, dtype)


def _groups(nets: Sequence[Sequence[Layer]], first: Sequence[int]) -> list[list[int]]:
    """Return the nets that occur, put together where one product serves them."""
    groups: dict[Any, list[int]] = {}
    for net, layers in enumerate(nets):
        count = first[net + 1] - first[net]
        if count:
            kind = [(layer.w.shape, layer.idt is None) for layer in layers]
            groups.setdefault((count, tuple(kind)), []).append(net)
    return list(groups.values())


def _stack(*layers: Layer) -> Layer:
    """Stack the layers of several nets, in float64."""
    w = torch.stack([layer.w.detach() for layer in layers]).to(torch.float64)
    b = torch.stack([layer.b.detach() for layer in layers]).to(torch.float64)
    idt = [layer.idt.detach() for layer in layers if layer.idt is not None]
    return Layer(w, b, torch.stack(idt).to(torch.float64) if idt else None)


def _points(grid: Grid, net: int) -> Float64[Tensor, " point"]:
    """Return a net's knots and those beyond its ends."""
    count = int(grid.first[net + 1] - grid.first[net])
    index = torch.arange(-BEYOND, count + 1 + BEYOND, dtype=torch.float64)
    return index.mul_(grid.step[net]).add_(grid.lower[net])


def _run(
    s: Float64[Tensor, "net point"], layers: Sequence[Layer], activation: str
) -> tuple[Float64[Tensor, "net point channel"], list[Step]]:
    """Evaluate nets; the values are padded with channels of zeros."""
    function = ACTIVATIONS[activation]
    is_tanh = function is ACTIVATIONS["tanh"]
    x = s.unsqueeze(2)
    steps = []
    for index, layer in enumerate(layers):
        n_in, n_out = layer.w.shape[1:]
        repeats = n_out // n_in if n_out in (n_in, 2 * n_in) else 0
        is_last = index == len(layers) - 1
        wide = -(-n_out // CHANNEL_BLOCK) * CHANNEL_BLOCK if is_last else n_out
        idt = torch.ones_like(layer.b) if layer.idt is None else layer.idt
        out, bias = x.new_empty(*s.shape, wide), layer.b.unsqueeze(1)
        argument = None
        if is_tanh:
            # tanh(a) = 2 sigmoid(2 a) - 1; see kernels.activations.
            value = torch.baddbmm(bias, x, layer.w, beta=2, alpha=2).sigmoid_()
            source = x if repeats else x.new_empty(*s.shape, 0)
            _compiled().tanh_layer(*_numpy(value, idt, source, out))
        else:
            argument = torch.baddbmm(bias, x, layer.w)
            value = function.value(argument)
            torch.mul(value, idt.unsqueeze(1), out=out[:, :, :n_out])
            out[:, :, n_out:] = 0
            for part in out[:, :, :n_out].chunk(repeats, dim=2) if repeats else ():
                part += x
        steps.append(
            Step(
                w=layer.w, idt=idt, repeats=repeats, x=x, argument=argument, value=value
            )
        )
        x = out
    return x, steps


def _run_back(
    grad: Float64[Tensor, "net point channel"],
    way: Way,
    activation: str,
    found: list[list[Layer]],
) -> None:
    """Turn the gradient by nets' values into that by their parameters, in ``found``."""
    function = ACTIVATIONS[activation]
    for index in range(len(way.steps) - 1, -1, -1):
        step = way.steps[index]
        delta = torch.empty_like(step.value)
        b, idt = torch.empty_like(step.idt), torch.empty_like(step.idt)
        own = grad[:, :, : delta.shape[2]]
        if step.argument is None:
            _compiled().tanh_adjoint(*_numpy(grad, step.value, step.idt, delta, b, idt))
        else:
            torch.mul(own, function.slope(step.argument, step.value), out=delta)
            delta *= step.idt.unsqueeze(1)
            torch.sum(delta, 1, out=b)
            torch.sum(own * step.value, 1, out=idt)
        w = torch.bmm(step.x.transpose(1, 2), delta)
        for net, parts in zip(way.nets, zip(w, b, idt, strict=True), strict=True):
            for place, value in zip(found[net][index], parts, strict=True):
                if place is not None:
                    place.copy_(value)
        if index:
            below = torch.bmm(delta, step.w.transpose(1, 2))
            for part in own.chunk(step.repeats, dim=2) if step.repeats else ():
                below += part
            grad = below


def _zeros(layer: Layer) -> Layer:
    idt = None if layer.idt is None else torch.zeros_like(layer.idt)
    return Layer(torch.zeros_like(layer.w), torch.zeros_like(layer.b), idt)


def _numpy(*tensors: Tensor) -> list[Any]:
    return [tensor.detach().numpy() for tensor in tensors]


def _compiled() -> Any:
    """Import the numba passes when they are first needed."""
    from dpbench.kernels.tables import cpu

    return cpu
