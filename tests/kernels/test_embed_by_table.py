"""The tabulated embedding net against the exact one, values and gradients."""

import itertools
from functools import partial

import pytest
import torch

from dpbench.kernels.embedding import blocks, tabulated
from dpbench.kernels.embedding.tabulated import embed_by_table
from dpbench.kernels.layers import Layer, embed_reference


def net(dtype, widths=(1, 5, 10, 20), idt=False):
    generator = torch.Generator().manual_seed(1)

    def draw(*shape):
        values = torch.randn(shape, generator=generator, dtype=torch.float64)
        return (0.5 * values).to(dtype).requires_grad_(True)

    return [
        Layer(
            draw(n_in, n_out),
            draw(n_out),
            draw(n_out) if idt and n_out == 2 * n_in else None,
        )
        for n_in, n_out in itertools.pairwise(widths)
    ]


@pytest.mark.parametrize("activation", ["tanh", "silu"])
@pytest.mark.parametrize("idt", [False, True])
@pytest.mark.parametrize(
    ("dtype", "limit"), [(torch.float64, 1e-9), (torch.float32, 2e-5)]
)
def test_values_and_gradients_equal_those_of_the_net(activation, idt, dtype, limit):
    layers = net(dtype, idt=idt)
    s = torch.linspace(-0.4, 6.0, 3000, dtype=dtype)
    leaves = [t for layer in layers for t in layer if t is not None]
    generator = torch.Generator().manual_seed(2)
    weights = torch.randn(2, 3000, 20, dtype=dtype, generator=generator)
    results = []
    fine = partial(embed_by_table, intervals=1024)
    for function in (embed_reference, fine):
        value, slope = function(s, layers, activation)
        loss = (value * weights[0]).sum() + (slope * weights[1]).sum()
        grads = torch.autograd.grad(loss, leaves)
        results.append([value.detach(), slope.detach(), *grads])
    for expected, found in zip(*results, strict=True):
        assert (found - expected).abs().max() <= limit * expected.abs().max()


def test_few_edges_take_the_net_itself(monkeypatch):
    monkeypatch.setattr(tabulated, "_Tabulated", None)
    layers = net(torch.float64)
    s = torch.linspace(0, 1, 10, dtype=torch.float64)
    found, expected = (f(s, layers, "tanh")[0] for f in (embed_by_table, blocks.embed))
    assert torch.equal(found, expected)


def test_a_nan_stays_in_its_own_row():
    layers = net(torch.float64)
    s = torch.linspace(0, 1, 2000, dtype=torch.float64)
    s[7] = torch.nan
    value, _ = embed_by_table(s, layers, "tanh")
    bad = torch.isnan(value).any(dim=1)
    assert bad.nonzero().flatten().tolist() == [7]
