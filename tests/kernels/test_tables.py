"""Tables of embedding nets against the nets, and their adjoint against autograd."""

import itertools

import numpy as np
import pytest
import torch

from dpbench.kernels.activations import ACTIVATIONS
from dpbench.kernels.layers import Layer, embed_reference
from dpbench.kernels.tables import (
    compiled,
    cpu,
    evaluate,
    grid_for,
    intervals_for,
    locate,
    reference,
    table_error,
)

VARIANTS = [reference, compiled]
SMOOTH = ["tanh", "gelu", "softplus", "sigmoid", "silu", "linear"]
LOW = torch.tensor([-1.3, 0.2], dtype=torch.float64)
BELL = np.array(
    [
        [1, 26, 66, 26, 1, 0],
        [-5, -50, 0, 50, 5, 0],
        [10, 20, -60, 20, 10, 0],
        [-10, 20, 0, -20, 10, 0],
        [5, -20, 30, -20, 5, 0],
        [-1, 5, -10, 10, -5, 1],
    ]
)
"""120 times the polynomials of a piece by the six b around it."""
HIGH = torch.tensor([2.1, 1.9], dtype=torch.float64)


def net(widths, *, resnet_dt, seed=7, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    layers = []
    for n_in, n_out in itertools.pairwise(widths):
        idt = draw(n_out) if resnet_dt and n_out in (n_in, 2 * n_in) else None
        w = draw(n_in, n_out) / (n_in + n_out) ** 0.5
        layers.append(Layer(w, draw(n_out), idt))
    return layers


def pair(widths, **keywords):
    return [net(widths, seed=seed, **keywords) for seed in (7, 8)]


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("widths", [(1, 5, 10, 10), (1, 2, 7), (1, 1, 3)])
@pytest.mark.parametrize("resnet_dt", [False, True])
def test_jets_are_value_slope_and_curvature(name, widths, resnet_dt):
    layers = net(widths, resnet_dt=resnet_dt)
    s = torch.linspace(-1.3, 4.1, 37, dtype=torch.float64, requires_grad=True)
    jets = reference.jets(s.detach(), layers, name)
    exact = embed_reference(s, layers, name)
    torch.testing.assert_close(jets[0], exact[0].detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(jets[1], exact[1].detach(), rtol=1e-12, atol=1e-12)
    for channel in range(widths[-1]):
        if not exact[1].requires_grad:  # piecewise linear
            assert float(jets[2].abs().max()) == 0
            break
        (bend,) = torch.autograd.grad(
            exact[1][:, channel].sum(), s, retain_graph=True, materialize_grads=True
        )
        torch.testing.assert_close(jets[2][:, channel], bend, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("module", VARIANTS)
@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("resnet_dt", [False, True])
def test_table_error_falls_with_the_sixth_and_fifth_power_of_the_step(
    module, name, resnet_dt
):
    nets = pair((1, 5, 10, 10), resnet_dt=resnet_dt)
    errors = []
    for intervals in (8, 16):
        grid = grid_for(LOW, HIGH, intervals)
        tables = module.make_tables(nets, name, grid, torch.float64)
        errors.append(table_error(nets, name, tables))
    if name == "linear":
        assert float(errors[0].slope.max()) < 1e-11
        return
    # Below 1e-9 a spline's ends show on so coarse a grid.
    for before, after, factor in zip(*errors, (40, 20), strict=True):
        fell = (before / after > factor) | (after < 1e-9)
        assert bool(fell.all())
    assert float(errors[1].value.max()) < 1e-5


def test_chosen_intervals_keep_the_error():
    nets = pair((1, 5, 10, 10), resnet_dt=False)
    count = intervals_for(nets, "tanh", LOW, HIGH, slope_error=1e-7)
    for intervals, fits in ((count, True), (count * 2 // 3, False)):
        grid = grid_for(LOW, HIGH, intervals)
        tables = reference.make_tables(nets, "tanh", grid, torch.float64)
        error = float(table_error(nets, "tanh", tables).slope.max())
        assert (error < 1e-7) is fits


def test_curvature_is_that_of_the_net_at_knots():
    nets = pair((1, 5, 10, 10), resnet_dt=False)
    tables = reference.make_tables(nets, "tanh", grid_for(LOW, HIGH, 10), torch.float64)
    s = torch.linspace(0.2, 1.9, 11, dtype=torch.float64)
    read = evaluate(tables, 1, s)
    for got, exact in zip(read[:3], reference.jets(s, nets[1], "tanh"), strict=True):
        torch.testing.assert_close(got, exact, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("module", VARIANTS)
def test_table_goes_on_straight_beyond_its_ends_and_counts(module):
    nets = pair((1, 5, 10), resnet_dt=False)
    tables = module.make_tables(nets, "tanh", grid_for(LOW, HIGH, 50), torch.float64)
    s = torch.tensor([0.2, 0.1, -0.8, 1.9, 2.5], dtype=torch.float64)
    read = evaluate(tables, 1, s)
    assert read.outside == 3
    value, slope = embed_reference(s[[0, 3]], nets[1], "tanh")
    for index, end, there in ((1, 0, 0.2), (2, 0, 0.2), (4, 1, 1.9)):
        expected = value[end] + slope[end] * (s[index] - there)
        torch.testing.assert_close(read.value[index], expected, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(read.slope[index], slope[end], rtol=1e-9, atol=1e-9)
        assert float(read.curvature[index].abs().max()) == 0


def test_nan_stays_nan():
    nets = pair((1, 5, 10), resnet_dt=False)
    tables = reference.make_tables(nets, "tanh", grid_for(LOW, HIGH, 50), torch.float64)
    read = evaluate(tables, 0, torch.tensor([0.3, torch.nan], dtype=torch.float64))
    assert torch.isfinite(read.value[0]).all()
    assert torch.isnan(read.value[1]).all()


@pytest.mark.parametrize("module", VARIANTS)
def test_net_that_does_not_occur_has_no_intervals(module):
    low, high = LOW.clone(), HIGH.clone()
    low[0], high[0] = torch.inf, -torch.inf
    nets = pair((1, 5, 10), resnet_dt=False)
    grid = grid_for(low, high, 64)
    assert grid.first.tolist() == [0, 0, 64]
    tables = module.make_tables(nets, "tanh", grid, torch.float64)
    assert float(table_error(nets, "tanh", tables).slope.max()) < 1e-6
    gradient = torch.ones_like(tables.coefficients)
    found = module.tables_adjoint(nets, "tanh", grid, gradient)
    assert all(float(t.abs().max()) == 0 for layer in found[0] for t in layer[:2])
    assert locate(grid, 0, LOW[:0]).outside == 0
    with pytest.raises(ValueError, match="no intervals"):
        locate(grid, 0, LOW)


def test_grids_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="finite"):
        grid_for(LOW, HIGH * torch.nan, 8)
    with pytest.raises(ValueError, match="finite"):
        grid_for(LOW, HIGH * torch.inf, 8)
    with pytest.raises(ValueError, match="at least 1"):
        grid_for(LOW, HIGH, [8, 0])


def test_one_distance_makes_a_grid():
    grid = grid_for(LOW, LOW, 4)
    assert float(grid.step.min()) > 0


@pytest.mark.parametrize("module", VARIANTS)
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("resnet_dt", [False, True])
@pytest.mark.parametrize("widths", [(1, 5, 10, 10), (1, 1, 3)])
def test_adjoint_is_the_transpose_of_the_tabulation(module, name, resnet_dt, widths):
    """<coefficients' change, gradient> = <parameters' change, adjoint>."""
    nets = pair(widths, resnet_dt=resnet_dt)
    changes = pair(widths, resnet_dt=resnet_dt)[::-1]
    grid = grid_for(LOW, HIGH, [7, 12])
    step = 1e-5

    def moved(sign):
        shifted = [
            [
                Layer(*(None if t is None else t + sign * step * d for t, d in both))
                for both in (zip(a, b, strict=True) for a, b in zip(*two, strict=True))
            ]
            for two in zip(nets, changes, strict=True)
        ]
        return module.make_tables(shifted, name, grid, torch.float64).coefficients

    change = (moved(1) - moved(-1)) / (2 * step)
    generator = torch.Generator().manual_seed(3)
    gradient = torch.randn(change.shape, generator=generator, dtype=torch.float64)
    found = module.tables_adjoint(nets, name, grid, gradient)
    total = sum(
        float((t * d).sum())
        for net_found, net_change in zip(found, changes, strict=True)
        for a, b in zip(net_found, net_change, strict=True)
        for t, d in zip(a, b, strict=True)
        if t is not None
    )
    assert total == pytest.approx(float((change * gradient).sum()), rel=1e-6)


@pytest.mark.parametrize("intervals", [1, 2, 3, 40])
def test_spline_and_its_adjoint_are_those_of_the_dense_matrix(intervals):
    """Against numpy's solver for all knots at once."""
    points, channels = intervals + 1 + 2 * compiled.BEYOND, 16
    matrix = np.zeros((points, points))
    for offset, weight in zip(range(-2, 3), (1, 26, 66, 26, 1), strict=True):
        matrix += weight * np.eye(points, k=offset)
    for end in (0, 1, -2, -1):
        matrix[end] = 120 * np.eye(points)[end]
    solve = np.linalg.inv(matrix)
    rng = np.random.default_rng(5)
    values = rng.standard_normal((points, channels))
    out, lines = np.zeros((intervals, 6, channels)), np.zeros((2, 6, channels))
    cpu.tabulate(values, compiled.BEYOND, out, lines)
    b = solve @ values
    windows = [b[k + compiled.BEYOND - 2 :][:6] for k in range(intervals + 1)]
    pieces = np.einsum("nj,kjc->knc", BELL, np.stack(windows))
    np.testing.assert_allclose(out, pieces[:-1], rtol=0, atol=1e-12)
    np.testing.assert_allclose(lines[0, :2], pieces[0, :2], rtol=0, atol=1e-12)
    np.testing.assert_allclose(lines[1, :2], pieces[-1, :2], rtol=0, atol=1e-12)
    assert np.all(lines[:, 2:] == 0)

    grad, to_lines = rng.standard_normal(out.shape), rng.standard_normal(lines.shape)
    to_values = np.empty_like(values)
    cpu.tabulate_adjoint(grad, to_lines, compiled.BEYOND, to_values)
    expected = (out * grad).sum() + (lines * to_lines).sum()
    assert (values * to_values).sum() == pytest.approx(expected, rel=1e-11)
    # In every direction, not only along the values themselves.
    change = rng.standard_normal(values.shape)
    cpu.tabulate(change, compiled.BEYOND, out, lines)
    expected = (out * grad).sum() + (lines * to_lines).sum()
    assert (change * to_values).sum() == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("resnet_dt", [False, True])
def test_compiled_gradient_is_that_of_autograd_through_the_same_spline(name, resnet_dt):
    nets = pair((1, 5, 10, 10), resnet_dt=resnet_dt)
    grid = grid_for(LOW, HIGH, [7, 12])
    tables = compiled.make_tables(nets, name, grid, torch.float64)
    generator = torch.Generator().manual_seed(3)
    shape = tables.coefficients.shape
    gradient = torch.randn(shape, generator=generator, dtype=torch.float64)
    for keep in (tables, None):
        found = compiled.tables_adjoint(nets, name, grid, gradient, tables=keep)
        for net, layers in enumerate(nets):
            leaves = [
                t.requires_grad_() for layer in layers for t in layer if t is not None
            ]
            values = embed_reference(compiled._points(grid, net), layers, name)[0]
            to_values = np.zeros((len(values), 16))
            first, last = grid.first[net], grid.first[net + 1]
            line = 19 + 2 * net
            pieces, lines = gradient[first:last], gradient[line : line + 2]
            cpu.tabulate_adjoint(
                pieces.numpy(), lines.numpy(), compiled.BEYOND, to_values
            )
            weights = torch.from_numpy(to_values[:, :10])
            expected = torch.autograd.grad((values * weights).sum(), leaves)
            flat = [t for layer in found[net] for t in layer if t is not None]
            for one, other in zip(flat, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
            for leaf in leaves:
                leaf.requires_grad_(False)


def test_lines_may_be_left_out_of_the_gradient():
    nets = pair((1, 5, 10), resnet_dt=False)
    grid = grid_for(LOW, HIGH, 9)
    gradient = torch.ones(18, 6, 16, dtype=torch.float64)
    whole = torch.cat([gradient, torch.zeros(4, 6, 16, dtype=torch.float64)])
    for module in VARIANTS:
        short = module.tables_adjoint(nets, "tanh", grid, gradient)
        full = module.tables_adjoint(nets, "tanh", grid, whole)
        assert all(
            torch.equal(one.w, other.w)
            for pair_of_nets in zip(short, full, strict=True)
            for one, other in zip(*pair_of_nets, strict=True)
        )


@pytest.mark.parametrize(
    ("dtype", "limit"), [(torch.float64, 1e-9), (torch.float32, 1e-5)]
)
def test_compiled_passes_its_own_check(dtype, limit):
    assert 0 < compiled.check(dtype) < limit


def test_check_finds_a_fault(monkeypatch):
    monkeypatch.setattr(compiled, "BEYOND", 4)
    assert compiled.check(torch.float64) > 1e-8


def test_table_of_single_precision_has_its_slope_to_seven_digits():
    nets = pair((1, 5, 10, 10), resnet_dt=False)
    grid = grid_for(LOW, HIGH, 1024)
    single = compiled.make_tables(nets, "tanh", grid, torch.float32)
    double = compiled.make_tables(nets, "tanh", grid, torch.float64)
    s = torch.linspace(-1.3, 2.1, 999, dtype=torch.float64)
    one, other = (evaluate(t, 0, s) for t in (single, double))
    for found, exact in ((one.value, other.value), (one.slope, other.slope)):
        scale = float(exact.abs().max())
        assert float((found.double() - exact).abs().max()) < 4e-7 * scale


@pytest.mark.parametrize("name", ["tanh", "gelu", "relu"])
def test_channels_beyond_the_nets_are_zero(name):
    nets = pair((1, 5, 10), resnet_dt=True)
    for module in VARIANTS:
        # Freed memory of this size is not zero.
        torch.full((22, 6, 16), torch.nan, dtype=torch.float64)
        grid = grid_for(LOW, HIGH, 9)
        found = module.make_tables(nets, name, grid, torch.float64).coefficients
        assert found.shape == (22, 6, 16)
        assert bool((found[:, :, 10:] == 0).all())
        assert bool((found[:, :, :10] != 0).any())
