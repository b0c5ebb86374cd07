"""FLOPs and bytes of a step, counted from its sizes; nothing is measured here.

A multiplication and an addition are one FLOP each. Activation functions are not
counted: their cost depends on the machine's library. A *unit* is one matrix product
with every weight matrix of a net: 2 n_in n_out FLOPs a row and layer. Bytes are the
least that must be moved: each operand read once and each result written once per
kernel; what caches save or spoil beyond that shows in the measured fraction.

============  ==================================================================
units         meaning
============  ==================================================================
2             MD: forward; force backward (fitting) or derivative (embedding)
6             training: forward, force backward, tangent, reverse, and weight
              gradients of doubled depth
9 or 3        embedding at knots: value and two derivatives, forward (3), their
              inputs and weights backward (6); a third of it where derivatives are
              taken from the values of neighbouring knots
============  ==================================================================

Source:
    Counted by hand; the totals for water are in docs/kernels.md.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

MD_UNITS = 2
"""Units of a net in an MD step."""

TRAINING_UNITS = 6
"""Units of a net in a training step."""

JET_UNITS = 9
"""Units of an embedding net at a knot, where its derivatives are evaluated."""

VALUE_UNITS = 3
"""Units of an embedding net at a knot, where only values are evaluated."""

# One edge: length and unit vector (12), the switch and its derivative (20), four
# normalised columns (8); back: J^T on one row (25).
ENVIRONMENT_FORWARD, ENVIRONMENT_BACKWARD = 40, 25

# One edge and channel, quintic Horner: value 5 FMA; value and slope 9 FMA; the adjoint
# to six coefficients 11 FLOPs by the value, 10 by the slope, 1 for its step width.
TABLE_VALUE, TABLE_SLOPE, TABLE_ADJOINT = 10, 18, 22

# Adam by one parameter: two means, two corrections, root, quotient, update.
ADAM = 12

INDEX_BYTES = 4
"""Of one index into a table or to a neighbour."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What one kernel has to do in one step."""

    kernel: str
    """Name of the kernel."""
    flops: float
    """Floating-point operations."""
    bytes: float
    """Bytes that must be moved."""

    @property
    def intensity(self) -> float:
        """FLOPs a byte; infinite where nothing is moved."""
        return self.flops / self.bytes if self.bytes else float("inf")


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddingShape:
    """One descriptor: its embedding nets and the edges that they are evaluated on."""

    edges: float
    """Directed edges of the step."""
    neuron: tuple[int, ...]
    """Widths of an embedding net; its input is one number."""
    axis: int | None
    """Columns of the second factor of D; None where D is the mean of G itself."""
    nets: int = 1
    """Embedding nets."""
    knots: int = 0
    """Knots of all nets together, where they are tabulated."""

    @property
    def width(self) -> int:
        """Channels M."""
        return self.neuron[-1]

    @property
    def rows(self) -> int:
        """Columns of the environment matrix that the descriptor takes."""
        return 1 if self.axis is None else 4

    @property
    def unit(self) -> int:
        """FLOPs of one unit, one number in."""
        return 2 * sum(a * b for a, b in pairwise((1, *self.neuron)))

    @property
    def components(self) -> int:
        """Components of D that it gives."""
        return self.width * (1 if self.axis is None else self.axis)


@dataclass(frozen=True, kw_only=True, slots=True)
class StepShape:
    """The sizes of one step of MD or of training, all frames together."""

    atoms: float
    """Atoms of the step."""
    embeddings: tuple[EmbeddingShape, ...]
    """The descriptors that are put side by side; mostly one."""
    fitting: tuple[int, ...]
    """Widths of the hidden layers of the fitting net."""
    itemsize: int
    """Bytes of one number: 8 or 4."""
    fittings: int = 1
    """Fitting nets."""
    extra_inputs: int = 0
    """Inputs of the fitting net beside D."""
    parameters: int = 0
    """Parameters that the optimiser moves."""

    @property
    def inputs(self) -> int:
        """Width of the fitting net's input."""
        return sum(e.components for e in self.embeddings) + self.extra_inputs

    @property
    def fitting_layers(self) -> tuple[tuple[int, int], ...]:
        """(n_in, n_out) of each layer of the fitting net."""
        return tuple(pairwise((self.inputs, *self.fitting, 1)))

    @property
    def edges(self) -> float:
        """Directed edges of all descriptors."""
        return sum(e.edges for e in self.embeddings)


def md_step(shape: StepShape, *, tabulated: bool) -> tuple[Work, ...]:
    """Count energy, forces and virial of one MD step.

    Args:
        shape: Sizes.
        tabulated: Whether the embedding is read from tables (a compressed model).
    """
    works = [_environment(shape, passes=1)]
    if tabulated:
        works.append(_tables(shape, [TABLE_VALUE, TABLE_SLOPE]))
    else:
        works.append(_embedding(shape, MD_UNITS))
    works.append(_passes(shape, [_moments, _edge_gradient]))
    works.append(_descriptor(shape, units=3))
    works.append(_fitting(shape, MD_UNITS))
    return tuple(works)


def training_step(
    shape: StepShape, *, tabulated: bool, knot_units: int = JET_UNITS
) -> tuple[Work, ...]:
    """Count loss, gradient by all parameters, and an Adam step.

    Args:
        shape: Sizes; ``knots`` of its embeddings count where ``tabulated``.
        tabulated: Whether the embedding is tabulated in each step.
        knot_units: ``JET_UNITS`` or ``VALUE_UNITS``.
    """
    works = [_environment(shape, passes=2)]
    if tabulated:
        flops = [TABLE_VALUE, TABLE_SLOPE, TABLE_SLOPE, TABLE_ADJOINT]
        works.append(_tables(shape, flops))
        works.append(_knots(shape, knot_units))
    else:
        works.append(_embedding(shape, TRAINING_UNITS))
    works.append(_passes(shape, [_moments, _edge_gradient, _tangent, _adjoint]))
    works.append(_descriptor(shape, units=9))
    works.append(_fitting(shape, TRAINING_UNITS))
    works.append(
        Work(
            kernel="optimiser",
            flops=ADAM * shape.parameters,
            bytes=7 * shape.itemsize * shape.parameters,
        )
    )
    return tuple(works)


def fused_passes(shape: StepShape) -> dict[str, Work]:
    """Count the passes over edges of a training step one by one, tables included.

    Returns:
        The work of ``P1`` moments, ``P2`` edge gradient, ``P3`` tangent moments and
        ``P4`` adjoint; together they are ``tables`` and ``passes`` of a step.
    """
    parts = {
        "P1": (TABLE_VALUE, _moments),
        "P2": (TABLE_SLOPE, _edge_gradient),
        "P3": (TABLE_SLOPE, _tangent),
        "P4": (TABLE_ADJOINT, _adjoint),
    }
    return {
        name: total([_tables(shape, [table]), _passes(shape, [flops])], name)
        for name, (table, flops) in parts.items()
    }


def total(works: Sequence[Work], kernel: str = "step") -> Work:
    """Add up the work of several kernels."""
    return Work(
        kernel=kernel,
        flops=sum(work.flops for work in works),
        bytes=sum(work.bytes for work in works),
    )


def _environment(shape: StepShape, *, passes: int) -> Work:
    """Rows of the edges; with ``passes`` 2 their tangents and the way back as well."""
    flops = ENVIRONMENT_FORWARD + (2 * passes - 1) * ENVIRONMENT_BACKWARD
    moved = 3 * 8 + 4 * shape.itemsize  # d in float64, one row
    return Work(
        kernel="environment",
        flops=flops * shape.edges,
        bytes=passes * moved * shape.edges,
    )


def _embedding(shape: StepShape, units: int) -> Work:
    flops = moved = 0.0
    for e in shape.embeddings:
        flops += units * e.unit * e.edges
        numbers = 1 + 2 * sum(e.neuron[:-1]) + e.width
        weights = e.nets * e.unit / 2
        moved += units * shape.itemsize * (numbers * e.edges + weights)
    return Work(kernel="embedding", flops=flops, bytes=moved)


def _tables(shape: StepShape, flops: Sequence[int]) -> Work:
    """Look up the tables in as many passes as ``flops`` has entries."""
    done = moved = 0.0
    for e in shape.embeddings:
        done += sum(flops) * e.width * e.edges
        table = 6 * e.width * e.knots * shape.itemsize
        edge = INDEX_BYTES + shape.itemsize
        moved += len(flops) * (table + edge * e.edges)
    return Work(kernel="tables", flops=done, bytes=moved)


def _knots(shape: StepShape, units: int) -> Work:
    flops = moved = 0.0
    for e in shape.embeddings:
        flops += units * e.unit * e.knots
        numbers = 1 + 2 * sum(e.neuron[:-1]) + e.width
        weights = e.nets * e.unit / 2
        moved += units * shape.itemsize * (numbers * e.knots + weights)
    return Work(kernel="knots", flops=flops, bytes=moved)


def _moments(rows: int) -> int:
    """M += R (x) G: an FMA per row."""
    return 2 * rows


def _edge_gradient(rows: int) -> int:
    """R.dM and dR += dM G, an FMA per row each; then dR_0 += (R.dM) G'."""
    return 4 * rows + 2


def _tangent(rows: int) -> int:
    """M' += R' (x) G + R (x) (G' s')."""
    return 4 * rows + 1


def _adjoint(rows: int) -> int:
    """Gbar = R.Mbar + R'.dM and G'bar = (R.dM) s'."""
    return 6 * rows + 1


def _passes(shape: StepShape, passes: Sequence[Callable[[int], int]]) -> Work:
    done = moved = 0.0
    for e in shape.embeddings:
        for flops in passes:
            done += flops(e.rows) * e.width * e.edges
        moments = e.rows * e.width * shape.atoms
        moved += len(passes) * shape.itemsize * (4 * e.edges + moments)
    return Work(kernel="passes", flops=done, bytes=moved)


def _descriptor(shape: StepShape, *, units: int) -> Work:
    """D = M^T M_<: forward 1 unit, back 2, tangent 2, their adjoint 4."""
    done = moved = 0.0
    for e in shape.embeddings:
        if e.axis is not None:
            done += units * 2 * e.rows * e.width * e.axis * shape.atoms
        numbers = e.rows * e.width + e.components
        moved += units * shape.itemsize * numbers * shape.atoms
    return Work(kernel="descriptor", flops=done, bytes=moved)


def _fitting(shape: StepShape, units: int) -> Work:
    weights = sum(a * b for a, b in shape.fitting_layers)
    numbers = sum(a + b for a, b in shape.fitting_layers)
    moved = shape.fittings * weights + numbers * shape.atoms
    return Work(
        kernel="fitting",
        flops=units * 2 * weights * shape.atoms,
        bytes=units * shape.itemsize * moved,
    )
