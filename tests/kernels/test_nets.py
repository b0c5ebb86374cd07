"""Activation functions, embedding and fitting nets against autograd."""

import itertools

import pytest
import torch

from dpbench.kernels.activations import ACTIVATIONS
from dpbench.kernels.embedding import blocks, embed
from dpbench.kernels.layers import (
    Layer,
    embed_reference,
    embed_value,
    fit,
    fit_adjoint,
)

EXACT = {"rtol": 1e-11, "atol": 1e-12}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slope_and_curvature_are_derivatives(name):
    function = ACTIVATIONS[name]
    # No sample falls on a kink of relu or relu6.
    a = torch.linspace(-7.03, 7.03, 41, dtype=torch.float64, requires_grad=True)
    y = function.value(a)
    (slope,) = torch.autograd.grad(y.sum(), a, create_graph=True)
    torch.testing.assert_close(function.slope(a, y), slope, **EXACT)
    if slope.requires_grad:
        (curvature,) = torch.autograd.grad(slope.sum(), a)
        torch.testing.assert_close(function.curvature(a, y), curvature, **EXACT)


def test_activations_are_those_of_deepmd_kit():
    """Values at a = 1.5, from the definitions."""
    expected = {
        "tanh": 0.905148253644866,
        "gelu": 1.3995715769802328,  # the tanh approximation
        "silu": 1.2263617142904655,
        "softplus": 1.7014132779827524,
        "sigmoid": 0.8175744761936437,
        "relu6": 1.5,
        "linear": 1.5,
    }
    a = torch.tensor([1.5], dtype=torch.float64)
    for name, value in expected.items():
        assert float(ACTIVATIONS[name].value(a)) == pytest.approx(value, rel=1e-14)


def net(widths, *, resnet_dt, dtype=torch.float64):
    generator = torch.Generator().manual_seed(7)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    layers = []
    for n_in, n_out in itertools.pairwise(widths):
        idt = draw(n_out) if resnet_dt and n_out in (n_in, 2 * n_in) else None
        layers.append(Layer(draw(n_in, n_out) / n_in**0.5, draw(n_out), idt))
    return layers


@pytest.mark.parametrize("name", ["tanh", "gelu", "linear"])
@pytest.mark.parametrize("widths", [(1, 5, 10, 10), (1, 2, 7), (1, 1, 3)])
@pytest.mark.parametrize("resnet_dt", [False, True])
def test_fast_embedding_equals_its_reference(name, widths, resnet_dt, monkeypatch):
    monkeypatch.setattr(blocks, "CPU_BLOCK", 8)
    s = torch.linspace(-1.3, 4.1, 37, dtype=torch.float64)
    layers = net(widths, resnet_dt=resnet_dt)
    flat = [t.requires_grad_() for layer in layers for t in layer if t is not None]
    results, gradients = [], []
    for function in (embed, embed_reference):
        g, dg = function(s, layers, name)
        results.append((g, dg))
        loss = (g * torch.cos(3 * g)).sum() + (dg**2).sum()
        gradients.append(torch.autograd.grad(loss, flat))
    for fast, reference in zip(*results, strict=True):
        torch.testing.assert_close(fast, reference, **EXACT)
    for fast, reference in zip(*gradients, strict=True):
        torch.testing.assert_close(fast, reference, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(embed_value(s, layers, name), results[0][0], **EXACT)


def test_tangent_is_the_derivative_of_the_embedding():
    s = torch.linspace(-1.3, 4.1, 37, dtype=torch.float64, requires_grad=True)
    layers = net((1, 5, 10), resnet_dt=False)
    _, dg = embed(s.detach(), layers, "tanh")
    value = embed_value(s, layers, "tanh")
    for column in range(10):
        (slope,) = torch.autograd.grad(value[:, column].sum(), s, retain_graph=True)
        torch.testing.assert_close(dg[:, column], slope, **EXACT)


@pytest.mark.parametrize("resnet_dt", [False, True])
def test_fitting_adjoint_is_the_gradient(resnet_dt):
    layers = net((6, 8, 8, 16, 1), resnet_dt=resnet_dt)
    descriptor = torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
    done = fit(descriptor, layers, "tanh")
    (gradient,) = torch.autograd.grad(done.energy.sum(), descriptor)
    torch.testing.assert_close(fit_adjoint(done, layers, "tanh"), gradient, **EXACT)
