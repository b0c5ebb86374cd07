"""Sizes of blocks: how much work a program takes at a time."""

from dpbench.kernels.gpu.availability import is_interpreting

RUN_EDGES = 64
"""Most edges of one interval that one program of P4 sums."""


def power_of_two(count: int) -> int:
    """Return the least power of two that is at least ``count``."""
    return 1 << max(count - 1, 0).bit_length()


def edge_block() -> int:
    """Return how many edges a program holds at once beside all channels.

    Eight edges times 128 channels are eight numbers a thread in four warps: the sums of
    a pass and one row of coefficients stay in registers. The interpreter pays per
    operation, whatever its size.
    """
    return 64 if is_interpreting() else 8


def flat_block() -> int:
    """Return how many numbers a program of an elementwise pass takes."""
    return 4096 if is_interpreting() else 512


def bin_block() -> int:
    """Return how many atoms of a bin a program looks at, at once."""
    return 64 if is_interpreting() else 32
