"""The matrix products that no MD step of this model can do without.

Two units of the fitting nets, forward and back.
"""

from itertools import pairwise

import torch

from benchmarks.train_step.floor import product
from benchmarks.turns.side import Turns, argument


def main() -> None:
    torch.set_num_threads(argument("threads"))
    dtype = getattr(torch, argument("precision"))
    found = []
    for n in argument("atoms_by_type"):
        for a, b in pairwise((argument("inputs"), *argument("fitting"), 1)):
            w = torch.full((a, b), 0.5, dtype=dtype)
            found.append(product(torch.ones(n, a, dtype=dtype), w))
            found.append(product(torch.ones(n, b, dtype=dtype), w.T))

    def once() -> None:
        for _, call in found:
            call()

    told = {
        "versions": {"torch": torch.__version__},
        "flops": sum(flops for flops, _ in found),
    }
    Turns(argument("steps"), warm_up=3, told=told, is_mean=True).repeat(once)


if __name__ == "__main__":
    main()
