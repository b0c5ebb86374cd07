"""The passes through all fitting nets of a batch, shared out over threads by rows.

A product of few atoms hardly gains from a second thread of the library that does it.
Atoms do not know each other, so each thread takes a run of rows through all passes, in
products of its own, and nobody waits in between. Only gradients of weights are sums
over atoms: where a net's rows lie with several threads, each sums its own, and these
are added in the order of rows, so that the same threads give the same bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dpbench.kernels.fitting.states import Pass
from dpbench.kernels.layers import Layer
from dpbench.kernels.threads import spread, threads_here
from dpbench.shapes import Float

LEAST_ROWS = 32
"""Fewer rows are not worth a thread of their own: laying weights out takes longer."""
ROUND_ROWS = 8
"""Threads' rows begin at multiples of this."""


class Part(NamedTuple):
    """Rows of one net."""

    net: int
    """Its index."""
    rows: slice
    """Its rows among all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Nets:
    """The fitting nets of a batch."""

    family: Any
    """A variant of ``kernels.fitting``."""
    layers: Sequence[Sequence[Layer]]
    """Each net's layers."""
    activation: str
    """Name of the hidden layers' activation function."""
    shares: list[list[Part]]
    """What each thread does; ``shares_of`` makes it. Their parts are in order."""


def shares_of(offset: Sequence[int], device: torch.device) -> list[list[Part]]:
    """Return the rows of each net by thread; a net without rows is a part, too.

    Args:
        offset: First row of each net, and the number of rows.
        device: Where the rows are; only a CPU's are shared out.
    """
    total = offset[-1]
    threads = threads_here() if device.type == "cpu" else 1
    count = max(1, min(threads, total // LEAST_ROWS))
    ends = [total * i // count // ROUND_ROWS * ROUND_ROWS for i in range(count)]
    nets = list(enumerate(pairwise(offset)))
    shares = [[Part(net, slice(*rows)) for net, rows in nets if rows[0] == rows[1]]]
    shares += [[] for _ in ends[1:]]
    for share, low, high in zip(shares, ends, [*ends[1:], total], strict=True):
        for net, (begin, end) in nets:
            rows = slice(max(begin, low), min(end, high))
            if rows.start < rows.stop:
                share.append(Part(net, rows))
    return shares


def descend(
    nets: Nets, descriptor: Float[Tensor, "row component"]
) -> tuple[list[list[Pass]], Float[Tensor, "row component"]]:
    """Run the nets forward and back; return the passes by part, and dE/dD by row."""
    grad = torch.empty_like(descriptor)

    def job(share: list[Part]) -> list[Pass]:
        passes = []
        for part in share:
            layers = nets.layers[part.net]
            done = nets.family.forward(descriptor[part.rows], layers, nets.activation)
            nets.family.backward(done, out=grad[part.rows])
            passes.append(done)
        return passes

    return spread([partial(job, share) for share in nets.shares]), grad


def energies(passes: Sequence[Sequence[Pass]]) -> Float[Tensor, " row"]:
    """Return the nets' outputs by row."""
    return torch.cat([done.energy for share in passes for done in share])


def adjoint(
    nets: Nets,
    passes: Sequence[Sequence[Pass]],
    descriptor_dot: Float[Tensor, "row component"],
    eps: Float[Tensor, " row"],
    out: Sequence[Sequence[Layer]],
) -> Float[Tensor, "row component"]:
    """Write the gradients by the nets' weights; return the change of dE/dD by row.

    Args:
        nets: The nets.
        passes: What ``descend`` returned.
        descriptor_dot: Change of the descriptor.
        eps: Weight of each row's energy.
        out: Where to write the gradients, by net; overwritten.
    """
    change = torch.empty_like(descriptor_dot)
    written: set[int] = set()
    sums: list[tuple[Sequence[Layer], Sequence[Layer]]] = []

    def job(todo: list[tuple[Part, Pass, Sequence[Layer]]]) -> None:
        for part, done, target in todo:
            _, along = nets.family.tangent(done, descriptor_dot[part.rows])
            nets.family.tangent_backward(done, along, out=change[part.rows])
            nets.family.weight_gradients(done, along, eps[part.rows], out=target)

    jobs = []
    for share, share_passes in zip(nets.shares, passes, strict=True):
        todo = []
        for part, done in zip(share, share_passes, strict=True):
            target = out[part.net]
            if part.net in written:
                target = [layer.empty_like() for layer in target]
                sums.append((out[part.net], target))
            written.add(part.net)
            todo.append((part, done, target))
        jobs.append(partial(job, todo))
    spread(jobs)
    for total, more in sums:
        _add(total, more)
    return change


def _add(total: Sequence[Layer], more: Sequence[Layer]) -> None:
    for target, layer in zip(total, more, strict=True):
        for place, value in zip(target, layer, strict=True):
            if place is not None and value is not None:
                place.add_(value)
