"""Tables of tanh embedding nets on a GPU, and their adjoint; float64 until the end.

Signatures of ``kernels.tables``. ``TableMaker`` keeps what follows from the grid on the
device, so that a step makes its tables without a look at the host. Nets of another
activation go through the reference.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from dpbench.kernels.activations import ACTIVATIONS
from dpbench.kernels.gpu import launch
from dpbench.kernels.layers import Layer
from dpbench.kernels.tables import Grid, Tables, reference
from dpbench.kernels.tables.pieces import padded_width
from dpbench.shapes import Float, Float64, Int64

Nets = Sequence[Sequence[Layer]]


def make_tables(nets: Nets, activation: str, grid: Grid, dtype: torch.dtype) -> Tables:
    """Tabulate nets of one input; see ``reference.make_tables``."""
    if not is_served(activation):
        found = reference.make_tables(nets, activation, _moved(grid, nets), dtype)
        return _with_grid(found.coefficients, found.width, grid)
    maker = TableMaker(nets, grid)
    return _with_grid(maker.make(nets, dtype), maker.channels, grid)


def tables_adjoint(
    nets: Nets,
    activation: str,
    grid: Grid,
    coefficient_gradient: Float[Tensor, "row 6 channel"],
    *,
    tables: Tables | None = None,
) -> list[list[Layer]]:
    """Turn the gradient by a table into that by the nets; see the reference."""
    if not is_served(activation):
        return reference.tables_adjoint(
            nets, activation, _moved(grid, nets), coefficient_gradient
        )
    maker = TableMaker(nets, grid)
    maker.make(nets, coefficient_gradient.dtype)
    found = maker.adjoint(nets, coefficient_gradient)
    dtype = nets[0][0].w.dtype
    return [[_cast(layer, dtype) for layer in layers] for layers in found]


def is_served(activation: str) -> bool:
    """Say whether ``TableMaker`` knows the activation function."""
    return ACTIVATIONS[activation] is ACTIVATIONS["tanh"]


def check(dtype: torch.dtype) -> float:
    """Return the largest relative error against the reference on a small problem.

    Raises:
        ImportError: If Triton programs cannot run here; the message says why.
    """
    from dpbench.kernels.gpu.trial import largest_table_error

    return largest_table_error(dtype)


class _Way(NamedTuple):
    """What the adjoint needs of one layer."""

    x: Float64[Tensor, "3 point n_in"]
    z: Float64[Tensor, "3 point n_out"]
    value: Float64[Tensor, "point n_out"]


@final
class TableMaker:
    """Tables on one grid, again and again."""

    def __init__(self, nets: Nets, grid: Grid) -> None:
        """Lay out knots and rows on the nets' device; looks at the grid once.

        Args:
            nets: Layers of each net; their device counts, not their numbers.
            grid: Intervals of each net.
        """
        device = nets[0][0].w.device
        self.channels, self.width = padded_width(nets)
        rows = _rows(grid)
        self.points: list[slice] = rows.points
        """Knots of each net."""
        self.count = len(rows.knots)
        """Knots of all nets."""
        self.rows = len(rows.left)
        """Rows of the table."""
        self._knots = rows.knots.to(device)
        self._left, self._right = rows.left.to(device), rows.right.to(device)
        self._step = rows.step.to(device)
        self._uses = [use.to(device) for use in rows.uses]
        self._knot_step = rows.knot_step.to(device)
        self._ways: list[list[_Way]] = []

    def make(self, nets: Nets, dtype: torch.dtype) -> Float[Tensor, "row 6 channel"]:
        """Return the coefficients for the nets as they are now."""
        jets = torch.empty(
            3, self.count, self.channels, dtype=torch.float64, device=self._knots.device
        )
        self._ways = [
            self._run(layers, points, jets)
            for layers, points in zip(nets, self.points, strict=True)
        ]
        out = jets.new_empty(self.rows, 6, self.width, dtype=dtype)
        _programs().hermite[(self.rows,)](
            *(jets, self._left, self._right, self._step, out, self.count),
            CHANNELS=self.channels,
            WIDTH=self.width,
            LANES=launch.power_of_two(self.width),
        )
        return out

    def adjoint(
        self, nets: Nets, grad: Float[Tensor, "row 6 channel"]
    ) -> list[list[Layer]]:
        """Return the gradients by the nets of the last ``make``, float64.

        Args:
            nets: As given to ``make``.
            grad: By the coefficients; rows of lines may be left out.
        """
        by_jet = torch.empty(
            3, self.count, self.channels, dtype=torch.float64, device=grad.device
        )
        if self.count:
            _programs().hermite_adjoint[(self.count,)](
                *(grad.contiguous(), *self._uses, self._knot_step, by_jet),
                *(self.count, len(grad)),
                CHANNELS=self.channels,
                WIDTH=grad.shape[2],
                LANES=launch.power_of_two(self.channels),
            )
        return [
            _back(layers, ways, by_jet[:, points])
            for layers, ways, points in zip(nets, self._ways, self.points, strict=True)
        ]

    def _run(self, layers: Sequence[Layer], points: slice, jets: Tensor) -> list[_Way]:
        """Write the jets of one net; return what the adjoint needs."""
        s = self._knots[points]
        x = torch.stack([s, torch.ones_like(s), torch.zeros_like(s)]).unsqueeze(2)
        ways = []
        for layer in layers:
            wide = _double(layer)
            z = x @ wide.w
            value, out = torch.empty_like(z[0]), torch.empty_like(z)
            _launch("jet_forward", z, wide.b, _idt(wide), x, value, out, layer=wide)
            ways.append(_Way(x, z, value))
            x = out
        jets[:, points] = x
        return ways


def _back(layers: Sequence[Layer], ways: list[_Way], grad: Tensor) -> list[Layer]:
    """Run one net's jets back; return the gradients by its parameters."""
    found = []
    grad = grad.contiguous()
    for layer, way in zip(layers[::-1], ways[::-1], strict=True):
        wide = _double(layer)
        to_z = torch.empty_like(grad)
        to_idt = torch.empty_like(grad[0])
        _launch(
            "jet_backward", grad, way.z, way.value, _idt(wide), to_z, to_idt, layer=wide
        )
        w = way.x.flatten(0, 1).T @ to_z.flatten(0, 1)
        idt = None if wide.idt is None else to_idt.sum(dim=0)
        found.append(Layer(w, to_z[0].sum(dim=0), idt))
        to_x = to_z @ wide.w.T
        for part in grad.chunk(wide.repeats, dim=2) if wide.repeats else ():
            to_x = to_x + part
        grad = to_x.contiguous()
    return found[::-1]


class _Rows(NamedTuple):
    """Which knots a table's rows use, and which rows use a knot; on the host."""

    points: list[slice]
    knots: Float64[Tensor, " knot"]
    knot_step: Float64[Tensor, " knot"]
    left: Int64[Tensor, " row"]
    right: Int64[Tensor, " row"]
    step: Float64[Tensor, " row"]
    uses: list[Int64[Tensor, " knot"]]


def _rows(grid: Grid) -> _Rows:
    lower, step, first = (t.cpu() for t in (grid.lower, grid.step, grid.first))
    total, nets = int(first[-1]), len(lower)
    left = torch.full((total + 2 * nets,), -1, dtype=torch.int64)
    right, row_step = left.clone(), torch.ones(len(left), dtype=torch.float64)
    points, knots, steps = [], [torch.zeros(0, dtype=torch.float64)], []
    begin = 0
    for net in range(nets):
        start, end = int(first[net]), int(first[net + 1])
        line, count = total + 2 * net, end - start
        size = count + 1 if count else 0
        points.append(slice(begin, begin + size))
        if count:
            index = torch.arange(begin, begin + count)
            left[start:end], right[start:end] = index, index + 1
            left[line : line + 2] = torch.tensor([begin, begin + count])
            right[line : line + 2] = left[line : line + 2]
            row_step[start:end] = row_step[line : line + 2] = step[net]
            knots.append(lower[net] + torch.arange(size) * step[net])
            steps.append(step[net].expand(size))
        begin += size
    none = torch.full((begin,), -1, dtype=torch.int64)
    uses = [none, none.clone(), none.clone()]
    pieces, lines = torch.arange(total), torch.arange(total, len(left))
    uses[0][left[pieces]] = pieces
    uses[1][right[pieces]] = pieces
    drawn = lines[left[lines] >= 0]
    uses[2][left[drawn]] = drawn
    return _Rows(
        points=points,
        knots=torch.cat(knots),
        knot_step=torch.cat([row_step[:0], *steps]),
        left=left,
        right=right,
        step=row_step,
        uses=uses,
    )


def _launch(name: str, *tensors: Tensor | None, layer: Layer) -> None:
    """Run a program over the points and channels of a layer's jets."""
    jets = tensors[0]
    if jets is None or not jets.numel():
        return
    size, block = jets.numel() // 3, launch.flat_block()
    constants = {"REPEATS": layer.repeats} if name == "jet_forward" else {}
    getattr(_programs(), name)[(-(-size // block),)](
        *tensors,
        size,
        N=layer.w.shape[1],
        HAS_IDT=layer.idt is not None,
        BLOCK=block,
        **constants,
    )


def _double(layer: Layer) -> Layer:
    return _cast(layer, torch.float64)


def _cast(layer: Layer, dtype: torch.dtype) -> Layer:
    idt = None if layer.idt is None else layer.idt.detach().to(dtype)
    return Layer(layer.w.detach().to(dtype), layer.b.detach().to(dtype), idt)


def _idt(layer: Layer) -> Tensor:
    """Return the time step, or anything that a program may point at."""
    return layer.b if layer.idt is None else layer.idt


def _moved(grid: Grid, nets: Nets) -> Grid:
    device = nets[0][0].w.device
    return Grid(
        lower=grid.lower.to(device),
        step=grid.step.to(device),
        first=grid.first.to(device),
    )


def _with_grid(coefficients: Tensor, width: int, grid: Grid) -> Tables:
    return Tables(
        lower=grid.lower,
        step=grid.step,
        first=grid.first,
        coefficients=coefficients,
        width=width,
    )


def _programs() -> Any:
    """Import the programs when they are first needed."""
    from dpbench.kernels.gpu.programs import tables

    return tables
