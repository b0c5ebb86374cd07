"""Tables by quintic splines through the nets' values, on CPUs.

A quintic spline through the values at the knots, and at some knots beyond the ends,
has pieces of degree five like those of the reference. Its error is a few times theirs
on the same grid: as much as 1.2 times the intervals take back. But it needs one matrix
product a layer instead of three, and its adjoint two instead of six; derivatives of the
net are not needed at all. Everything that is differenced is float64.

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
from dpbench.kernels.tables.pieces import Grid, Tables, double_layers, padded_width
from dpbench.kernels.tables.trial import largest_error
from dpbench.shapes import Float, Float64

BEYOND = 20
"""Knots beyond each end: what the spline does there has faded by 1e-7 at the end."""

KINKED = ("relu", "relu6")
"""Activation functions without a continuous slope."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """What the way back through one layer needs, at all knots of a net."""

    x: Float64[Tensor, "point n_in"]
    """Input."""
    argument: Float64[Tensor, "point n_out"] | None
    """a, where the slope does not follow from the value."""
    value: Float64[Tensor, "point n_out"]
    """f(a)."""


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
    out = coefficients.numpy()
    ways: list[list[Way]] = []
    for net, layers in enumerate(nets):
        lines = out[first[-1] + 2 * net :][:2]
        if first[net + 1] == first[net]:
            lines[:] = 0
            ways.append([])
            continue
        values, way = _run(_points(grid, net), double_layers(layers), activation)
        pieces = out[first[net] : first[net + 1]]
        _compiled().tabulate(values.numpy(), BEYOND, pieces, lines)
        ways.append(way)
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
    gradient = coefficient_gradient.detach().contiguous().numpy()
    found = []
    for net, (layers, way) in enumerate(zip(nets, tables.ways, strict=True)):
        if not way:
            found.append([_zeros(layer) for layer in layers])
            continue
        lines = gradient[first[-1] + 2 * net :][:2]
        if not len(lines):
            lines = torch.zeros(2, 6, padded, dtype=coefficient_gradient.dtype).numpy()
        to_values = torch.empty(len(way[0].x), padded, dtype=torch.float64)
        pieces = gradient[first[net] : first[net + 1]]
        _compiled().tabulate_adjoint(pieces, lines, BEYOND, to_values.numpy())
        grad = to_values[:, : tables.width]
        exact = _run_back(grad, way, double_layers(layers), activation)
        found.append([_cast(layer, layers[0].w.dtype) for layer in exact])
    return found


def check(dtype: torch.dtype) -> float:
    """Return the largest relative error against the reference on a small problem."""
    from dpbench.kernels.tables import compiled

    return largest_error(compiled, reference, dtype)


def _points(grid: Grid, net: int) -> Float64[Tensor, " point"]:
    """Return a net's knots and those beyond its ends."""
    count = int(grid.first[net + 1] - grid.first[net])
    index = torch.arange(-BEYOND, count + 1 + BEYOND, dtype=torch.float64)
    return index.mul_(grid.step[net]).add_(grid.lower[net])


def _run(
    s: Float64[Tensor, " point"], layers: Sequence[Layer], activation: str
) -> tuple[Float64[Tensor, "point channel"], list[Way]]:
    """Evaluate a net; the values are padded with channels of zeros."""
    function = ACTIVATIONS[activation]
    is_tanh = function is ACTIVATIONS["tanh"]
    x = s.unsqueeze(1)
    way = []
    for index, layer in enumerate(layers):
        n_out = layer.w.shape[1]
        wide = padded_width([layers])[1] if index == len(layers) - 1 else n_out
        out = x.new_empty(len(s), wide)
        argument = None
        if is_tanh:
            # tanh(a) = 2 sigmoid(2 a) - 1; see kernels.activations.
            value = torch.addmm(layer.b, x, layer.w, beta=2, alpha=2).sigmoid_()
            source = x if layer.repeats else x.new_empty(len(x), 0)
            arrays = _numpy(value, _idt(layer), source, out)
            _compiled().tanh_layer(*arrays)
        else:
            argument = torch.addmm(layer.b, x, layer.w)
            value = function.value(argument)
            torch.mul(value, _idt(layer), out=out[:, :n_out])
            out[:, n_out:] = 0
            for part in out[:, :n_out].chunk(layer.repeats, 1) if layer.repeats else ():
                part += x
        way.append(Way(x=x, argument=argument, value=value))
        x = out
    return x, way


def _run_back(
    grad: Float64[Tensor, "point channel"],
    way: Sequence[Way],
    layers: Sequence[Layer],
    activation: str,
) -> list[Layer]:
    """Turn the gradient by a net's values into that by its parameters."""
    function = ACTIVATIONS[activation]
    found = []
    for index in range(len(layers) - 1, -1, -1):
        layer, step = layers[index], way[index]
        delta = torch.empty_like(step.value)
        b, idt = torch.empty_like(layer.b), torch.empty_like(layer.b)
        if step.argument is None:
            arrays = _numpy(grad, step.value, _idt(layer), delta, b, idt)
            _compiled().tanh_adjoint(*arrays)
        else:
            torch.mul(grad, function.slope(step.argument, step.value), out=delta)
            delta *= _idt(layer)
            torch.sum(delta, 0, out=b)
            torch.sum(grad * step.value, 0, out=idt)
        w = torch.mm(step.x.T, delta)
        found.append(Layer(w, b, None if layer.idt is None else idt))
        if index:
            below = torch.mm(delta, layer.w.T)
            for part in grad.chunk(layer.repeats, 1) if layer.repeats else ():
                below += part
            grad = below
    return found[::-1]


def _idt(layer: Layer) -> Tensor:
    return torch.ones_like(layer.b) if layer.idt is None else layer.idt


def _zeros(layer: Layer) -> Layer:
    idt = None if layer.idt is None else torch.zeros_like(layer.idt)
    return Layer(torch.zeros_like(layer.w), torch.zeros_like(layer.b), idt)


def _cast(layer: Layer, dtype: torch.dtype) -> Layer:
    idt = None if layer.idt is None else layer.idt.to(dtype)
    return Layer(layer.w.to(dtype), layer.b.to(dtype), idt)


def _numpy(*tensors: Tensor) -> list[Any]:
    return [tensor.detach().numpy() for tensor in tensors]


def _compiled() -> Any:
    """Import the numba passes when they are first needed."""
    from dpbench.kernels.tables import cpu

    return cpu
