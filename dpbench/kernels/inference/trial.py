"""A small problem on which a variant shows that it agrees with the reference."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from dpbench.kernels.inference import reference
from dpbench.kernels.inference.packed import packed_columns
from dpbench.kernels.inference.state import PotentialState
from dpbench.kernels.layers import Layer
from dpbench.kernels.tables import grid_for
from dpbench.kernels.tables.reference import make_tables

MakeEvaluator = Callable[..., Any]
"""``make_evaluator`` of a variant."""


class _Holder(NamedTuple):
    """A model for the trial."""

    state: PotentialState


def largest_error(
    make_evaluator: MakeEvaluator,
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
) -> float:
    """Compare a variant with the reference in float64; return the largest error.

    Two replicas of nine atoms of two types in small skewed cells, periodic along two
    directions, with padding and pairs of types: energies, forces and virials, each
    relative to its largest number.

    Args:
        make_evaluator: Of the variant.
        dtype: Precision of the variant's tables and nets.
        device: Where the variant works.
    """
    generator = torch.Generator().manual_seed(7)
    exact = trial_state(torch.float64, generator)
    atype = torch.tensor([0, 1, 1, 0, 1, 1, 0, 1, 1])
    corner = torch.tensor([[4.1, 0, 0], [0.5, 3.9, 0], [-0.3, 0.4, 4.4]])
    box = torch.stack([corner, 1.1 * corner]).double()
    site = torch.cartesian_prod(*3 * [torch.arange(3)])[::3].double()
    site = torch.stack([site, site]) + 0.3 * torch.rand(
        2, 9, 3, generator=generator, dtype=torch.float64
    )
    coord = ((site / 3) @ box).reshape(18, 3)
    pbc = torch.tensor([True, True, False])
    answers = []
    for make, state, where in (
        (reference.make_evaluator, exact, torch.device("cpu")),
        (make_evaluator, move_state(exact, device, dtype), torch.device(device)),
    ):
        types = atype.to(where)
        evaluator = make(_Holder(state), types, nreplicas=2, skin=0.4)
        evaluator.build(coord.to(where), box.to(where), pbc.to(where))
        found = evaluator.evaluate(coord.to(where), box.to(where))
        answers.append([found.energy, found.force, found.virial])
    errors = [
        ((fast.cpu() - slow).abs().max() / slow.abs().max()).item()
        for slow, fast in zip(*answers, strict=True)
    ]
    # max() would drop a NaN, and a NaN is no agreement.
    return float(np.max(errors))


def trial_state(dtype: torch.dtype, generator: torch.Generator) -> PotentialState:
    """Make a small model with random weights."""
    channels, axis = 10, 3

    def net(*widths: int) -> tuple[Layer, ...]:
        draws = [
            (
                torch.randn(a, b, generator=generator, dtype=torch.float64) / a**0.5,
                torch.randn(b, generator=generator, dtype=torch.float64),
            )
            for a, b in itertools.pairwise(widths)
        ]
        return tuple(Layer(w, b, None) for w, b in draws)

    nets = [net(1, 5, channels) for _ in range(4)]
    end = torch.ones(4, dtype=torch.float64)
    components = len(packed_columns(channels, axis))
    return PotentialState(
        dtype=dtype,
        rcut=3.2,
        rcut_smth=0.6,
        protection=0.0,
        sel=(6, 9),
        axis=axis,
        davg=np.array([[0.1, 0, 0, 0], [0.07, 0, 0, 0]]),
        dstd=np.array([[0.14, 0.09, 0.09, 0.09], [0.12, 0.08, 0.08, 0.08]]),
        net=np.array([[0, 2], [1, 3]]),
        is_seen=np.array([[True, True], [True, False]]),
        tables=make_tables(nets, "tanh", grid_for(-end, 6 * end, 40), dtype),
        fitting=tuple(net(components, 7, 7, 1) for _ in range(2)),
        activation="tanh",
        energy_bias=np.array([-1.0, -2.0]),
    )


def move_state(
    state: PotentialState, device: torch.device | str, dtype: torch.dtype
) -> PotentialState:
    """Return a model on a device in a precision."""

    def moved(layer: Layer) -> Layer:
        idt = None if layer.idt is None else layer.idt.to(device, dtype)
        return Layer(layer.w.to(device, dtype), layer.b.to(device, dtype), idt)

    tables = state.tables
    return replace(
        state,
        dtype=dtype,
        tables=replace(
            tables,
            lower=tables.lower.to(device),
            step=tables.step.to(device),
            first=tables.first.to(device),
            coefficients=tables.coefficients.to(device, dtype),
        ),
        fitting=tuple(tuple(map(moved, layers)) for layers in state.fitting),
    )
