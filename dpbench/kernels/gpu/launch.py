"""Sizes of blocks: how much work a program takes at a time."""

from dpbench.kernels.gpu.availability import is_interpreting

EDGE_BLOCK = 4
"""Edges that a program holds beside 128 channels. ptxas for sm_90, float32, four warps:
4 edges take 120 to 128 registers in P1 and P2, 8 take 190; which is faster only a GPU
can tell (``benchmarks/gpu.py --sweep``)."""

EDGE_WARPS = 4
"""Warps of such a program."""

RUN_EDGES = 64
"""Most edges of one interval that one program of P4 sums."""


def power_of_two(count: int) -> int:
    """Return the least power of two that is at least ``count``."""
    return 1 << max(count - 1, 0).bit_length()


def edge_block() -> int:
    """Return how many edges a program holds at once beside all channels.

    The interpreter pays per operation, whatever its size.
    """
    return 64 if is_interpreting() else EDGE_BLOCK


def line_block() -> int:
    """Return how many edges a program takes at once that needs no channels."""
    return 64 if is_interpreting() else 32


def flat_block() -> int:
    """Return how many numbers a program of an elementwise pass takes."""
    return 4096 if is_interpreting() else 512


def bin_block() -> int:
    """Return how many atoms of a bin a program looks at, at once."""
    return 64 if is_interpreting() else 32
