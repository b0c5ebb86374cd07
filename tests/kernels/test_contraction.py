"""Products over edges: compiled against plain torch, and their adjoints."""

import pytest
import torch

from dpbench.kernels.contraction import (
    EdgeRange,
    moments,
    products,
    reference,
    row_gradient,
)


@pytest.fixture
def edges():
    """Four atoms with 3, 0, 5 and 1 edges."""
    counts = torch.tensor([3, 0, 5, 1])
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    centres = torch.repeat_interleave(torch.arange(4), counts)
    return EdgeRange(starts=starts, centres=centres, most=6)


def draw(*shape, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_compiled_products_equal_plain_torch(edges, dtype):
    rows, features = draw(9, 4, dtype=dtype), draw(9, 7, dtype=dtype)
    moment, slopes = draw(4, 4, 7, dtype=dtype), draw(9, 7, dtype=dtype) ** 2
    pairs = [
        (products._moments, reference.moments, (rows, features)),
        (row_gradient, reference.row_gradient, (moment, rows, (features, slopes))),
        (products.spread, reference.spread, (rows, moment)),
    ]
    for compiled, plain, arguments in pairs:
        result = compiled(*arguments, edges)
        assert result.dtype == dtype
        torch.testing.assert_close(result, plain(*arguments, edges))


def test_moments_are_sums_of_outer_products(edges):
    rows, features = draw(9, 4), draw(9, 7)
    expected = torch.zeros(4, 4, 7, dtype=torch.float64)
    for e, a in enumerate(edges.centres.tolist()):
        expected[a] += torch.outer(rows[e], features[e])
    torch.testing.assert_close(moments(rows, features, edges), expected)


def test_products_are_differentiated_right(edges):
    features = draw(9, 7).requires_grad_()
    moment = draw(4, 4, 7).requires_grad_()
    assert torch.autograd.gradcheck(lambda g: moments(draw(9, 4), g, edges), features)
    slopes = (draw(9, 7) ** 2).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, g, dg: row_gradient(x, draw(9, 4), (g, dg), edges),
        (moment, features, slopes),
    )


def test_plain_torch_has_the_same_adjoint(edges):
    """The one that runs on GPUs."""
    grad, rows, moment = draw(9, 4), draw(9, 4) + 1, draw(4, 4, 7).requires_grad_()
    features = draw(9, 7).requires_grad_(), (draw(9, 7) ** 2).requires_grad_()
    out = row_gradient(moment, rows, features, edges)
    expected = torch.autograd.grad(out, (moment, *features), grad)
    found = reference.row_gradient_adjoint(grad, moment, rows, features, edges)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.detach(), theirs)


def test_nan_is_not_hidden(edges):
    features = draw(9, 7)
    features[4, 2] = torch.nan
    assert moments(draw(9, 4), features, edges).isnan().any()
