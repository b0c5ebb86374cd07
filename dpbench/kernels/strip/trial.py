"""A small problem on which a variant of these passes is compared with the reference."""

from dataclasses import replace
from types import ModuleType

import torch
from torch import Tensor

from dpbench.kernels.passes import reference as plain
from dpbench.kernels.passes.trial import make_trial
from dpbench.kernels.strip.data import Share
from dpbench.kernels.tables import Tables


def run_trial(module: ModuleType, dtype: torch.dtype) -> dict[str, Tensor]:
    """Run every pass of a variant; return what each gave."""
    trial = make_trial(dtype)
    net = torch.zeros_like(trial.layout.net)
    layout, normal = replace(trial.layout, net=net), trial.normal
    whole = trial.tables
    # The first of the two tables, with its two lines.
    rows = torch.cat([torch.arange(9), torch.arange(16, 18)])
    tables = Tables(
        lower=whole.lower[:1],
        step=whole.step[:1],
        first=whole.first[:2],
        coefficients=whole.coefficients[rows],
        width=whole.width,
    )
    edges = plain.prepare(trial.edge_vec, layout, normal, tables)
    generator = torch.Generator().manual_seed(5)
    share = Share(
        table=torch.randn(2, 2, 16, generator=generator).to(dtype),
        weight=torch.randn(len(edges.rows), 2, generator=generator).to(dtype),
    )
    dot = plain.tangent_rows(edges, layout, normal, trial.atom_dot, trial.strain)
    more = (edges, share, layout)
    by_piece, by_share = module.adjoint(
        (trial.grad_x, trial.grad_dot), dot, *more, tables
    )
    return {
        "moments": module.moments(*more, tables),
        "edge_gradient": module.edge_gradient(trial.grad_x, *more, normal, tables),
        "tangent_moments": module.tangent_moments(dot, *more, tables),
        "by_piece": by_piece,
        "by_share": by_share,
    }


def largest_error(
    module: ModuleType, reference: ModuleType, dtype: torch.dtype
) -> float:
    """Return the largest error of a variant, relative to each result's size."""
    found, expected = run_trial(module, dtype), run_trial(reference, dtype)
    errors = [
        (found[name] - value).abs().max() / value.abs().max()
        for name, value in expected.items()
    ]
    # max() of a list would lose a NaN.
    return float(torch.stack(errors).max())
