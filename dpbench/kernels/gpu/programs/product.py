"""Matrix products on tensor cores, with the precision stated."""

import triton
import triton.language as tl


@triton.jit
def product(
    a, b, base, out, rows, columns, depth,
    stride_am, stride_bk, stride_bn, stride_base,
    PRECISION: tl.constexpr, HAS_BASE: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """Write a b + base; base is a row (stride 0) or a matrix."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inner = tl.arange(0, DEPTH)
    is_row, is_column = (row < rows)[:, None], (column < columns)[None, :]
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for k in range(0, depth, DEPTH):
        is_inner = k + inner < depth
        left = tl.load(
            a + row[:, None] * stride_am + (k + inner)[None, :],
            mask=is_row & is_inner[None, :],
            other=0.0,
        )
        right = tl.load(
            b + (k + inner)[:, None] * stride_bk + column[None, :] * stride_bn,
            mask=is_inner[:, None] & is_column,
            other=0.0,
        )
        total += tl.dot(left, right, input_precision=PRECISION)
    keep = is_row & is_column
    if HAS_BASE:
        at = row[:, None] * stride_base + column[None, :]
        total += tl.load(base + at, mask=keep, other=0.0)
    tl.store(out + row[:, None] * columns + column[None, :], total, mask=keep)
