"""The loops over edges and channels of inference, written out in LLVM's vectors.

Left to itself the compiler stores the moments after every edge and takes a row's last
channels one by one. Here a few vectors of channels stay in registers over all edges of
an atom: half the time. Tables are as wide as whole vectors; arrays are contiguous.
Products and sums may be fused and reordered; a NaN stays one.
"""

from typing import Any, NamedTuple

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic

_BUILD: Any = cgutils

VECTOR_BYTES = 64
"""One register of AVX-512; the compiler takes two or four where they are shorter."""

_FLAGS = ("reassoc", "contract", "nsz")

_INDEX, _LANE = ir.IntType(64), ir.IntType(32)

_MOST_VECTORS = 4
"""Vectors of channels that are summed at once: with four rows, 16 registers."""


class _Emitter:
    """Writes vector code into a function that numba compiles."""

    def __init__(self, builder: Any, scalar: Any) -> None:
        self.builder = builder
        self.lanes = VECTOR_BYTES // (4 if isinstance(scalar, ir.FloatType) else 8)
        self.vector = ir.VectorType(scalar, self.lanes)

    def at(self, base: Any, *offsets: Any) -> Any:
        """Return the address of base[sum of offsets]."""
        total = offsets[0]
        for more in offsets[1:]:
            total = self.builder.add(total, more)
        return self.builder.gep(base, [total])

    def load(self, address: Any) -> Any:
        """Read a vector; nothing is said of its alignment but a number's."""
        pointer = self.builder.bitcast(address, self.vector.as_pointer())
        return self.builder.load(pointer, align=4)

    def store(self, value: Any, address: Any) -> None:
        """Write a vector."""
        pointer = self.builder.bitcast(address, self.vector.as_pointer())
        self.builder.store(value, pointer, align=4)

    def spread(self, number: Any) -> Any:
        """Return a vector of one number."""
        empty = ir.Constant(self.vector, ir.Undefined)
        single = self.builder.insert_element(empty, number, ir.Constant(_LANE, 0))
        lanes = ir.Constant(ir.VectorType(_LANE, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(single, empty, lanes)

    def total(self, vector: Any) -> Any:
        """Return the sum over a vector, by halves."""
        count = self.lanes
        while count > 1:
            count //= 2
            picks = [
                ir.Constant(ir.VectorType(_LANE, count), list(range(n, n + count)))
                for n in (0, count)
            ]
            low, high = (self.builder.shuffle_vector(vector, vector, p) for p in picks)
            vector = self.builder.fadd(low, high, flags=_FLAGS)
        return self.builder.extract_element(vector, ir.Constant(_LANE, 0))

    def fused(self, a: Any, b: Any, c: Any) -> Any:
        """Return a b + c."""
        product = self.builder.fmul(a, b, flags=_FLAGS)
        return self.builder.fadd(product, c, flags=_FLAGS)

    def loop(self, start: Any, stop: Any, step: int) -> Any:
        """Open a loop; yields its index."""
        return _BUILD.for_range_slice(
            self.builder, start, stop, ir.Constant(_INDEX, step)
        )

    def times(self, count: Any, factor: int) -> Any:
        """Return an index times a number."""
        return self.builder.mul(count, ir.Constant(_INDEX, factor))


class _Edges(NamedTuple):
    """Pointers and sizes that both loops take."""

    coefficients: Any
    rows: Any
    stride: Any
    """Edges that there is room for."""
    place: Any
    low: Any
    high: Any
    sums: Any
    """The moments, or the gradient by them, (4, width)."""
    width: Any

    def row(self, emit: _Emitter, n: int, e: Any) -> Any:
        """Return the address of number n of an edge."""
        return emit.at(self.rows, emit.times(self.stride, n), e)

    def piece(self, emit: _Emitter, e: Any) -> Any:
        """Return the index of an edge's first coefficient."""
        place = emit.builder.load(emit.at(self.place, e))
        return emit.builder.mul(
            emit.builder.sext(place, _INDEX), emit.times(self.width, 6)
        )

    def coefficient(self, emit: _Emitter, begin: Any, n: int, k: Any) -> Any:
        """Return a vector of the coefficients of x^n."""
        offset = emit.times(self.width, n)
        return emit.load(emit.at(self.coefficients, begin, offset, k))


def _opened(context: Any, builder: Any, signature: Any, args: Any) -> _Edges:
    """Take the arguments of an intrinsic apart."""
    coefficients, rows, place, sums = (
        context.make_array(signature.args[n])(context, builder, args[n])
        for n in (0, 1, 2, 4)
    )
    span = _BUILD.unpack_tuple(builder, args[3])
    return _Edges(
        coefficients=coefficients.data,
        rows=rows.data,
        stride=_BUILD.unpack_tuple(builder, rows.shape)[1],
        place=place.data,
        low=span[0],
        high=span[1],
        sums=sums.data,
        width=_BUILD.unpack_tuple(builder, sums.shape)[1],
    )


def _signature(*arguments: Any) -> Any:
    """Return the type of an intrinsic; none where an array is not contiguous."""
    arrays = [arguments[n] for n in (0, 1, 2, 4)]
    is_served = all(isinstance(a, types.Array) and a.layout == "C" for a in arrays)
    return types.void(*arguments) if is_served else None


def _type_moments(
    typing: Any, coefficients: Any, rows: Any, place: Any, span: Any, moment: Any
) -> Any:
    """Add sum_e R[e] (x) G(s[e]) of the edges in ``span`` to ``moment`` (4, width)."""

    def write(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = _Emitter(builder, context.get_value_type(coefficients.dtype))
        edges = _opened(context, builder, signature, args)
        begin = ir.Constant(_INDEX, 0)
        count = _MOST_VECTORS
        # As many vectors at once as there are; the rest by fewer.
        while count:
            step = emit.lanes * count
            rest = builder.urem(edges.width, ir.Constant(_INDEX, step))
            end = builder.sub(edges.width, rest)
            with emit.loop(begin, end, step) as (k, _):
                _write_moments(emit, edges, k, count)
            begin, count = end, count // 2
        return context.get_dummy_value()

    return _signature(coefficients, rows, place, span, moment), write


def _write_moments(emit: _Emitter, edges: _Edges, k: Any, count: int) -> None:
    """Sum some vectors of channels from k on over all edges."""
    builder = emit.builder
    starts = [builder.add(k, ir.Constant(_INDEX, emit.lanes * v)) for v in range(count)]
    where = [
        emit.at(edges.sums, emit.times(edges.width, n), start)
        for n in range(4)
        for start in starts
    ]
    sums = [_BUILD.alloca_once(builder, emit.vector) for _ in where]
    for address, held in zip(where, sums, strict=True):
        builder.store(emit.load(address), held)
    with emit.loop(edges.low, edges.high, 1) as (e, _):
        begin = edges.piece(emit, e)
        row = [emit.spread(builder.load(edges.row(emit, n, e))) for n in range(5)]
        for v, start in enumerate(starts):
            value = edges.coefficient(emit, begin, 5, start)
            for n in (4, 3, 2, 1, 0):
                below = edges.coefficient(emit, begin, n, start)
                value = emit.fused(value, row[4], below)
            for n in range(4):
                held = sums[n * count + v]
                builder.store(emit.fused(row[n], value, builder.load(held)), held)
    for address, held in zip(where, sums, strict=True):
        emit.store(builder.load(held), address)


def _type_gradients(
    typing: Any, coefficients: Any, rows: Any, place: Any, span: Any, x: Any
) -> Any:
    """Overwrite R of the edges in ``span`` by dE/dR, their place by dE/ds step.

    ``x`` is dE/dX, (4, width). The second part reaches R_0 too, once it is divided by
    the step.
    """

    def write(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = _Emitter(builder, context.get_value_type(coefficients.dtype))
        edges = _opened(context, builder, signature, args)
        sums = [_BUILD.alloca_once(builder, emit.vector) for _ in range(5)]
        with emit.loop(edges.low, edges.high, 1) as (e, _):
            begin = edges.piece(emit, e)
            row = [emit.spread(builder.load(edges.row(emit, n, e))) for n in range(5)]
            for held in sums:
                builder.store(ir.Constant(emit.vector, None), held)
            with emit.loop(ir.Constant(_INDEX, 0), edges.width, emit.lanes) as (k, _):
                _write_gradients(emit, edges, (begin, k), (row, sums))
            for n, held in enumerate(sums):
                total = emit.total(builder.load(held))
                builder.store(total, edges.row(emit, n, e))
        return context.get_dummy_value()

    return _signature(coefficients, rows, place, span, x), write


def _write_gradients(emit: _Emitter, edges: _Edges, at: Any, state: Any) -> None:
    """Add one vector of channels to the sums of an edge."""
    builder = emit.builder
    (begin, k), (row, sums) = at, state
    value = edges.coefficient(emit, begin, 5, k)
    slope = value
    for n in (4, 3, 2, 1):
        value = emit.fused(value, row[4], edges.coefficient(emit, begin, n, k))
        slope = emit.fused(slope, row[4], value)
    value = emit.fused(value, row[4], edges.coefficient(emit, begin, 0, k))
    along = None
    for n in range(4):
        x = emit.load(emit.at(edges.sums, emit.times(edges.width, n), k))
        builder.store(emit.fused(x, value, builder.load(sums[n])), sums[n])
        if along is None:
            along = builder.fmul(row[n], x, flags=_FLAGS)
        else:
            along = emit.fused(row[n], x, along)
    builder.store(emit.fused(slope, along, builder.load(sums[4])), sums[4])


add_moments: Any = intrinsic(_type_moments)
"""``add_moments(coefficients, rows, place, span, moment)``: R (x) G of edges, added."""

row_gradients: Any = intrinsic(_type_gradients)
"""``row_gradients(coefficients, rows, place, span, x)``: dE/dR over R, in place."""
