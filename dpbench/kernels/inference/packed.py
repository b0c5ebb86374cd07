"""A model's numbers as the compiled kernels want them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpbench.kernels.inference.state import PotentialState
from dpbench.kernels.layers import Layer
from dpbench.kernels.tables import evaluate
from dpbench.shapes import Int64


@dataclass(frozen=True, kw_only=True, slots=True)
class PackedModel:
    """Tables, normalisation and fitting nets, laid out for ``cpu``."""

    centres: tuple[tuple[Any, ...], ...]
    """The argument ``model`` of the kernels for each centre type."""
    fitting: tuple[tuple[Layer, ...], ...]
    """Fitting nets whose first layer takes the packed descriptor."""
    activation: str
    """Name of the fitting nets' activation function."""
    energy_bias: NDArray[np.float64]
    """(type), eV."""
    channels: int
    """Channels of the embedding."""
    width: int
    """Channels with padding to whole vectors."""
    components: int
    """Components of the packed descriptor."""
    dtype: torch.dtype
    """Precision of tables and nets."""
    rcut: float
    """Cutoff radius, Å."""


def pack(state: PotentialState) -> PackedModel:
    """Lay a model out for the compiled kernels; it must lie on the CPU."""
    tables = state.tables
    # numpy asks the system for huge pages, torch does not; tables span many pages.
    coefficients = np.array(tables.coefficients.numpy())
    dtype = coefficients.dtype
    empty = state.empty_rows
    padding = _padding(state, dtype)
    return PackedModel(
        centres=tuple(
            (
                coefficients,
                np.array(state.sel, dtype=np.int64),
                state.is_seen,
                padding[c] if empty.any() else padding[c, :0],
                np.concatenate([state.davg[c], 1 / state.dstd[c]]),
                np.array(
                    [
                        state.rcut_smth,
                        1 / (state.rcut - state.rcut_smth),
                        state.protection,
                    ]
                ),
                _pieces(state, c),
                np.array([1 / sum(state.sel)], dtype=dtype),
                state.axis,
            )
            for c in range(state.ntypes)
        ),
        fitting=tuple(layers for layers in state.fitting),
        activation=state.activation,
        energy_bias=state.energy_bias,
        channels=tables.width,
        width=coefficients.shape[2],
        components=len(packed_columns(tables.width, state.axis)),
        dtype=state.dtype,
        rcut=state.rcut,
    )


def packed_columns(channels: int, axis: int) -> Int64[Tensor, " component"]:
    """Return which components c * axis + a of D are kept: those with c >= a, by a.

    The square block c < axis of D = X^T X_< is symmetric; half of it would only make
    the first layer of the fitting net wider.
    """
    rows = [torch.arange(a, channels) * axis + a for a in range(axis)]
    return torch.cat(rows)


def pack_layers(layers: Sequence[Layer], channels: int, axis: int) -> tuple[Layer, ...]:
    """Let the first layer take the packed descriptor: rows of twins are summed."""
    w = layers[0].w.detach()
    columns = packed_columns(channels, axis)
    c, a = columns // axis, columns % axis
    has_twin = torch.logical_and(c < axis, c != a)
    twin = torch.where(has_twin, a * axis + c, columns)
    packed = w[columns] + torch.where(has_twin[:, None], w[twin], 0)
    first = Layer(packed.contiguous(), layers[0].b, layers[0].idt)
    return (first, *layers[1:])


def _pieces(state: PotentialState, centre: int) -> NDArray[np.float64]:
    """Return lower end, 1 / step, intervals, first row and line row, (type, 5)."""
    tables = state.tables
    out = np.zeros((state.ntypes, 5))
    for t in range(state.ntypes):
        net = int(state.net[centre, t])
        begin, end = int(tables.first[net]), int(tables.first[net + 1])
        lines = int(tables.first[-1]) + 2 * net
        step = float(tables.step[net])
        out[t] = float(tables.lower[net]), 1 / step, end - begin, begin, lines
    return out


def _padding(state: PotentialState, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return R0 (x) G(s0), (centre type, neighbour type, 4, channel)."""
    width = state.tables.coefficients.shape[2]
    out = np.zeros((state.ntypes, state.ntypes, 4, width), dtype=dtype)
    for c, row in enumerate(state.empty_rows):
        for t in range(state.ntypes):
            net = int(state.net[c, t])
            s0 = torch.tensor([row[0]], dtype=torch.float64)
            # From the table, as for edges at the cutoff: so neighbours enter smoothly.
            value = evaluate(state.tables, net, s0).value[0].numpy()
            out[c, t, :, : len(value)] = np.outer(row, value)
    return out
