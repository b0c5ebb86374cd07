"""A small problem on which a variant of the passes is compared with the reference."""

from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from dpbench.kernels.passes.data import Layout, Normal
from dpbench.kernels.tables import Tables


class Trial(NamedTuple):
    """Everything that the passes take."""

    edge_vec: Tensor
    layout: Layout
    normal: Normal
    tables: Tables
    grad_x: Tensor
    grad_dot: Tensor
    atom_dot: Tensor
    strain: Tensor


def make_trial(dtype: torch.dtype, *, device: torch.device | str = "cpu") -> Trial:
    """Draw two frames of two types, an atom without neighbours, and two tables."""
    generator = torch.Generator().manual_seed(7)

    def draw(*shape: int) -> Tensor:
        values = torch.rand(shape, generator=generator, dtype=torch.float64)
        return (2 * values - 1).to(device, dtype)

    counts = torch.tensor([[3, 0, 5, 2, 1], [4, 0, 1, 6, 2]])
    ends = counts.flatten().cumsum(0)
    row_offset = torch.cat([torch.zeros(1, dtype=torch.int64), ends])[
        torch.arange(2)[:, None] * 5 + torch.arange(6)
    ]
    edge_row = torch.repeat_interleave(torch.arange(5).repeat(2), counts.flatten())
    nedges = len(edge_row)
    edge_j = torch.randint(0, 5, (nedges,), generator=generator)
    layout = Layout(
        row_offset=row_offset.to(device),
        row_type=torch.tensor([0, 0, 0, 1, 1], device=device),
        edge_i=edge_row.to(device),
        edge_j=edge_j.to(device),
        edge_row=edge_row.to(device),
        frame_idx=torch.tensor([0, 0, 1, 1, 1], device=device),
        nframes=2,
        net=torch.tensor([[0, 1], [0, 1]], device=device),
    )
    davg, std = torch.zeros(2, 4), torch.tensor([[0.2] * 4, [0.3] * 4])
    davg[:, 0] = 0.1
    normal = Normal(
        davg=davg.to(device, dtype),
        inverse_std=(1 / std).to(device, dtype),
        mask=None,
        rcut=4.0,
        rcut_smth=1.0,
        protection=0.0,
    )
    lines = draw(4, 6, 16)
    lines[:, 2:] = 0
    tables = Tables(
        lower=torch.tensor([-0.6, -0.5], dtype=torch.float64),
        step=torch.tensor([0.4, 0.5], dtype=torch.float64),
        first=torch.tensor([0, 9, 16]),
        coefficients=torch.cat([draw(16, 6, 16), lines]),
        width=16,
    )
    return Trial(
        edge_vec=draw(nedges, 3) * 2.4,
        layout=layout,
        normal=normal,
        tables=tables,
        grad_x=draw(5, 4, 16),
        grad_dot=draw(5, 4, 16),
        atom_dot=draw(5, 3).double(),
        strain=draw(2, 3, 3).double(),
    )


def run_trial(module: ModuleType, trial: Trial) -> dict[str, Tensor]:
    """Run every pass of a variant; return what each gave."""
    layout, tables, normal = trial.layout, trial.tables, trial.normal
    edges = module.prepare(trial.edge_vec, layout, normal, tables)
    grad = module.edge_gradient(trial.grad_x, edges, layout, normal, tables)
    force, virial = module.assemble(grad, edges, layout, with_virial=True)
    dot = module.tangent_rows(edges, layout, normal, trial.atom_dot, trial.strain)
    grads = (trial.grad_x, trial.grad_dot)
    return {
        "shortest": module.shortest(trial.edge_vec, layout),
        "rows": edges.rows,
        "moments": module.moments(edges, layout, tables),
        "edge_gradient": grad,
        "force": force,
        "virial": virial,
        "tangent_rows": dot,
        "tangent_moments": module.tangent_moments(dot, edges, layout, tables),
        "adjoint": module.adjoint(grads, dot, edges, layout, tables),
    }


def largest_error(
    module: ModuleType, reference: ModuleType, dtype: torch.dtype
) -> float:
    """Return the largest error of a variant, relative to each result's size."""
    trial = make_trial(dtype)
    found, expected = run_trial(module, trial), run_trial(reference, trial)
    errors = [
        (found[name] - value).abs().max() / value.abs().max()
        for name, value in expected.items()
    ]
    # max() of a list would lose a NaN.
    return float(torch.stack(errors).max())
