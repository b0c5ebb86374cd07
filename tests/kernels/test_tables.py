"""Tables of embedding nets against the nets, and their adjoint against autograd."""

import itertools

import pytest
import torch

from dpbench.kernels.activations import ACTIVATIONS
from dpbench.kernels.layers import Layer, embed_reference
from dpbench.kernels.tables import (
    evaluate,
    grid_for,
    intervals_for,
    locate,
    reference,
    table_error,
)

SMOOTH = ["tanh", "gelu", "softplus", "sigmoid", "silu", "linear"]
LOW = torch.tensor([-1.3, 0.2], dtype=torch.float64)
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


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("resnet_dt", [False, True])
def test_table_error_falls_with_the_sixth_and_fifth_power_of_the_step(name, resnet_dt):
    nets = pair((1, 5, 10, 10), resnet_dt=resnet_dt)
    errors = []
    for intervals in (8, 16):
        grid = grid_for(LOW, HIGH, intervals)
        tables = reference.make_tables(nets, name, grid, torch.float64)
        errors.append(table_error(nets, name, tables))
    if name == "linear":
        assert float(errors[0].slope.max()) < 1e-12
        return
    assert float((errors[0].value / errors[1].value).min()) > 40
    assert float((errors[0].slope / errors[1].slope).min()) > 20
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


def test_table_goes_on_straight_beyond_its_ends_and_counts():
    nets = pair((1, 5, 10), resnet_dt=False)
    tables = reference.make_tables(nets, "tanh", grid_for(LOW, HIGH, 50), torch.float64)
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


def test_net_that_does_not_occur_has_no_intervals():
    low, high = LOW.clone(), HIGH.clone()
    low[0], high[0] = torch.inf, -torch.inf
    nets = pair((1, 5, 10), resnet_dt=False)
    grid = grid_for(low, high, 64)
    assert grid.first.tolist() == [0, 0, 64]
    tables = reference.make_tables(nets, "tanh", grid, torch.float64)
    assert float(table_error(nets, "tanh", tables).slope.max()) < 1e-6
    gradient = torch.ones_like(tables.coefficients)
    found = reference.tables_adjoint(nets, "tanh", grid, gradient)
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


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("resnet_dt", [False, True])
@pytest.mark.parametrize("widths", [(1, 5, 10, 10), (1, 1, 3)])
def test_adjoint_is_the_transpose_of_the_tabulation(name, resnet_dt, widths):
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
        return reference.make_tables(shifted, name, grid, torch.float64).coefficients

    change = (moved(1) - moved(-1)) / (2 * step)
    gradient = torch.randn(change.shape, dtype=torch.float64) * (change != 0)
    found = reference.tables_adjoint(nets, name, grid, gradient)
    total = sum(
        float((t * d).sum())
        for net_found, net_change in zip(found, changes, strict=True)
        for a, b in zip(net_found, net_change, strict=True)
        for t, d in zip(a, b, strict=True)
        if t is not None
    )
    assert total == pytest.approx(float((change * gradient).sum()), rel=1e-6)
