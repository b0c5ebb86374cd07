"""The passes over edges: numba against plain torch, and adjoints against each other."""

import pytest
import torch

from dpbench.kernels.passes import compiled, reference
from dpbench.kernels.passes.gram import (
    gram,
    gram_adjoint,
    gram_adjoint_tangent,
    gram_tangent,
)
from dpbench.kernels.passes.trial import make_trial, run_trial

BOTH = [compiled, reference]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_compiled_passes_equal_the_reference(dtype):
    trial = make_trial(dtype)
    found, expected = run_trial(compiled, trial), run_trial(reference, trial)
    limit = 1e-12 if dtype == torch.float64 else 2e-5
    for name, value in expected.items():
        error = (found[name] - value).abs().max() / value.abs().max()
        assert error < limit, name


def test_the_trial_reaches_beyond_its_tables_on_both_sides():
    trial = make_trial(torch.float64)
    counts = [
        m.prepare(trial.edge_vec, trial.layout, trial.normal, trial.tables).extended
        for m in BOTH
    ]
    edges = reference.prepare(trial.edge_vec, trial.layout, trial.normal, trial.tables)
    assert counts[0] == counts[1] > 0
    assert (edges.interval >= 16).any()
    assert (edges.interval < 16).any()


@pytest.mark.parametrize("module", BOTH)
def test_moments_and_their_gradient_agree_with_autograd(module):
    """g_e = dE/dd for E = sum grad_x * moments(d), tables and switch included."""
    trial = make_trial(torch.float64)
    vec = trial.edge_vec.clone().requires_grad_(True)
    edges = reference.prepare(vec, trial.layout, trial.normal, trial.tables)
    # The place in the table moves with s, which ``prepare`` hands on as a constant.
    total = (reference.moments(edges, trial.layout, trial.tables) * trial.grad_x).sum()
    (expected,) = torch.autograd.grad(total, vec)
    done = module.prepare(trial.edge_vec, trial.layout, trial.normal, trial.tables)
    found = module.edge_gradient(
        trial.grad_x, done, trial.layout, trial.normal, trial.tables
    )
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("module", BOTH)
def test_tangent_is_the_slope_of_the_moments(module):
    trial = make_trial(torch.float64)
    layout, normal, tables = trial.layout, trial.normal, trial.tables

    def moments(step):
        u = step * trial.atom_dot
        tilt = step * trial.strain[layout.frame_idx[layout.edge_i]]
        moved = trial.edge_vec + u[layout.edge_j] - u[layout.edge_i]
        moved = moved - (trial.edge_vec[:, None] @ tilt)[:, 0]
        edges = reference.prepare(moved, layout, normal, tables)
        return reference.moments(edges, layout, tables)

    h = 1e-6
    expected = (moments(h) - moments(-h)) / (2 * h)
    edges = module.prepare(trial.edge_vec, layout, normal, tables)
    dot = module.tangent_rows(edges, layout, normal, trial.atom_dot, trial.strain)
    found = module.tangent_moments(dot, edges, layout, tables)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("module", BOTH)
def test_adjoint_is_the_gradient_by_the_coefficients(module):
    trial = make_trial(torch.float64)
    layout, tables = trial.layout, trial.tables
    edges = reference.prepare(trial.edge_vec, layout, trial.normal, tables)
    dot = reference.tangent_rows(
        edges, layout, trial.normal, trial.atom_dot, trial.strain
    )
    leaf = tables.coefficients.clone().requires_grad_(True)
    by_leaf = type(tables)(
        lower=tables.lower,
        step=tables.step,
        first=tables.first,
        coefficients=leaf,
        width=tables.width,
    )
    total = (reference.moments(edges, layout, by_leaf) * trial.grad_x).sum()
    along = reference.tangent_moments(dot, edges, layout, by_leaf)
    total = total + (along * trial.grad_dot).sum()
    (expected,) = torch.autograd.grad(total, leaf)
    grads = (trial.grad_x, trial.grad_dot)
    found = module.adjoint(grads, dot, edges, layout, tables)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


def test_rows_divided_among_workers_give_the_same_adjoint(monkeypatch):
    trial = make_trial(torch.float64)
    whole = run_trial(compiled, trial)["adjoint"]
    monkeypatch.setattr(compiled, "LEAST_ROWS", 2)
    monkeypatch.setattr(compiled, "use_threads", lambda: 3)
    torch.testing.assert_close(
        run_trial(compiled, trial)["adjoint"], whole, rtol=1e-12, atol=1e-13
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_edges_in_one_piece_are_taken_together(dtype):
    trial = make_trial(dtype)
    length = torch.linspace(1.7, 1.8, len(trial.edge_vec), dtype=dtype).flip(0)
    unit = trial.edge_vec / trial.edge_vec.norm(dim=1, keepdim=True)
    trial = trial._replace(edge_vec=unit * length.unsqueeze(1))
    edges = compiled.prepare(trial.edge_vec, trial.layout, trial.normal, trial.tables)
    row = torch.repeat_interleave(
        torch.arange(10), trial.layout.row_offset.diff(dim=1).flatten()
    )
    _, sizes = torch.unique(row * 20 + edges.interval, return_counts=True)
    assert sizes.max() > 3
    found, expected = run_trial(compiled, trial), run_trial(reference, trial)
    limit = 1e-12 if dtype == torch.float64 else 2e-5
    for name, value in expected.items():
        error = (found[name] - value).abs().max() / value.abs().max()
        assert error < limit, name


def test_edges_of_the_reference_serve_the_compiled_passes():
    trial = make_trial(torch.float64)
    tables, layout, normal = trial.tables, trial.layout, trial.normal
    ready = [m.prepare(trial.edge_vec, layout, normal, tables) for m in BOTH]
    assert ready[1].order is None
    found = [
        compiled.edge_gradient(trial.grad_x, edges, layout, normal, tables)
        for edges in ready
    ]
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-12)


def test_a_nan_in_an_edge_stays_a_nan():
    trial = make_trial(torch.float64)
    trial.edge_vec[4] = torch.nan
    row = int(trial.layout.edge_row[4])
    for module in BOTH:
        edges = module.prepare(trial.edge_vec, trial.layout, trial.normal, trial.tables)
        x = module.moments(edges, trial.layout, trial.tables)
        assert torch.isnan(x[row]).all()
        assert torch.isfinite(x[row + 1 :]).all()


def test_gram_and_its_adjoint_equal_torch():
    x = torch.randn(5, 4, 16, dtype=torch.float64, requires_grad=True)
    used = x[:, :, :13]
    expected = (used.transpose(1, 2) @ used[:, :, :3]).flatten(1)
    found = gram(x.detach(), x.detach(), channels=13, axis=3)
    torch.testing.assert_close(found, expected)
    grad = torch.randn_like(found)
    (by_x,) = torch.autograd.grad((expected * grad).sum(), x)
    torch.testing.assert_close(gram_adjoint(grad, x.detach(), axis=3), by_x)


def test_changes_of_gram_and_its_adjoint_are_sums_over_changes_of_either():
    draw = torch.Generator().manual_seed(4)
    x, x_dot, base = (
        torch.randn(5, 4, 16, generator=draw, dtype=torch.float64) for _ in range(3)
    )
    grad, grad_dot = (
        torch.randn(5, 39, generator=draw, dtype=torch.float64) for _ in range(2)
    )
    eps = torch.randn(5, generator=draw, dtype=torch.float64)
    options = {"channels": 13, "axis": 3}
    torch.testing.assert_close(
        gram_tangent(x, x_dot, **options),
        gram(x_dot, x, **options) + gram(x, x_dot, **options),
    )
    expected = gram_adjoint(grad_dot, x, axis=3) + gram_adjoint(grad, x_dot, axis=3)
    torch.testing.assert_close(
        gram_adjoint_tangent((grad, grad_dot), (x, x_dot), eps, base, axis=3),
        expected + eps[:, None, None] * base,
    )
