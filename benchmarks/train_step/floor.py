"""The matrix products that no training step of this model can do without.

Six units of the fitting nets: forward, force backward, tangent, reverse, and weight
gradients of doubled depth; and three of the embedding nets at their knots: values,
forward and back, because on a CPU the pieces are a spline through values alone. Nothing
else: no activation, no edge, no optimiser.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from benchmarks.turns.side import Turns, argument


def main() -> None:
    torch.set_num_threads(argument("threads"))
    dtype = getattr(torch, argument("precision"))
    counts = argument("atoms_by_type")
    layers = list(pairwise((argument("inputs"), *argument("fitting"), 1)))
    step = products(dtype, counts, layers)
    knots = argument("knots")
    if knots:
        embedding = list(pairwise((1, *argument("embedding"))))
        net = products_at_knots(knots, embedding)
        nets = argument("nets")
    else:
        net, nets = [], 0
    flops = sum(flop for flop, _ in step) + nets * sum(flop for flop, _ in net)
    calls = [call for _, call in step] + nets * [call for _, call in net]

    def once() -> None:
        for call in calls:
            call()

    told = {"versions": {"torch": torch.__version__}, "flops": flops, "knots": knots}
    Turns(argument("steps"), warm_up=6, told=told).repeat(once)


def products(
    dtype: torch.dtype, counts: list[int], layers: list[tuple[int, int]]
) -> list[tuple[int, Callable[[], Tensor]]]:
    """Return the products of the fitting nets, each with its FLOPs."""
    found = []
    for n in counts:
        for a, b in layers:
            w = torch.full((a, b), 0.5, dtype=dtype)
            x, y = torch.ones(n, a, dtype=dtype), torch.ones(n, b, dtype=dtype)
            both_x = torch.ones(2 * n, a, dtype=dtype)
            both_y = torch.ones(2 * n, b, dtype=dtype)
            for _ in range(2):
                found.append(product(x, w))
                found.append(product(y, w.T))
            found.append(product(both_x.T, both_y))
    return found


def products_at_knots(
    knots: int, layers: list[tuple[int, int]]
) -> list[tuple[int, Callable[[], Tensor]]]:
    """Return the products of one embedding net at its knots.

    They are in float64 whatever the model's precision is: a spline differences values.
    """
    found = []
    for a, b in layers:
        w = torch.full((a, b), 0.5, dtype=torch.float64)
        x = torch.ones(knots, a, dtype=torch.float64)
        y = torch.ones(knots, b, dtype=torch.float64)
        found += [product(x, w), product(y, w.T), product(x.T, y)]
    return found


def product(a: Tensor, b: Tensor) -> tuple[int, Callable[[], Tensor]]:
    """Return the FLOPs of a @ b, and a call that does it into its own output."""
    out = torch.empty(a.shape[0], b.shape[1], dtype=a.dtype)
    flops = 2 * a.shape[0] * a.shape[1] * b.shape[1]
    return flops, lambda: torch.mm(a, b, out=out)


if __name__ == "__main__":
    main()
