"""The types' share in an embedding: compiled against plain torch."""

import pytest
import torch

from dpbench.kernels.embedding import type_share
from dpbench.kernels.embedding.type_share import with_types


def inputs(edges: int, dtype: torch.dtype = torch.float64):
    generator = torch.Generator().manual_seed(3)
    draw = [(edges, 7), (edges, 7), (edges,), (edges,), (3, 7)]
    tensors = [torch.randn(n, generator=generator).to(dtype) for n in draw]
    for index in (0, 1, 4):
        tensors[index].requires_grad_(True)
    return tensors, torch.randint(0, 3, (edges,), generator=generator)


def results(function, edges: int, dtype: torch.dtype):
    """Both outputs, and the gradients of a weighted sum of them."""
    (g, dg, w, b, share), centre = inputs(edges, dtype)
    value, slope = function((g, dg), (w, b), share, centre)
    total = (value.sin() + 2 * slope.cos()).sum()
    return [value, slope, *torch.autograd.grad(total, (g, dg, share))]


@pytest.mark.parametrize("edges", [0, 1, 50])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_compiled_equals_plain_torch(edges, dtype):
    tolerance = 1e-13 if dtype == torch.float64 else 1e-4
    pairs = zip(
        results(with_types, edges, dtype),
        results(type_share.reference, edges, dtype),
        strict=True,
    )
    for found, expected in pairs:
        assert found.dtype == dtype
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def test_adjoint_in_plain_torch_is_that_of_autograd():
    """What a GPU takes."""
    (g, dg, w, b, share), centre = inputs(20)
    grads = torch.randn(20, 7).double(), torch.randn(20, 7).double()
    found = type_share._adjoint((g, dg, w, b, share, centre), grads)
    both = type_share.reference((g, dg), (w, b), share, centre)
    expected = torch.autograd.grad(both, (g, dg, share), grads)
    for index, value in zip((0, 1, 4), expected, strict=True):
        torch.testing.assert_close(found[index], value, rtol=1e-13, atol=1e-13)


def test_a_nan_survives():
    (g, dg, w, b, share), centre = inputs(4)
    w[2] = torch.nan
    value, _ = with_types((g, dg), (w, b), share, centre)
    assert torch.isnan(value[2]).all()
    assert not torch.isnan(value[:2]).any()
