"""The switch and the radial functions built on it."""

import numpy as np
import pytest
import torch

from dpbench.kernels.switch import radial_terms, switch_weight

RCUT_SMTH, RCUT = 0.5, 6.0


def weight(r):
    return switch_weight(r, rcut_smth=RCUT_SMTH, rcut=RCUT)


def derivative(order: int, *, at: float) -> float:
    r = torch.tensor(at, dtype=torch.float64, requires_grad=True)
    value = weight(r)
    for _ in range(order):
        (value,) = torch.autograd.grad(value, r, create_graph=True)
    return float(value.detach())


@pytest.mark.parametrize("joint", [RCUT_SMTH, RCUT])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_switch_is_c2(joint, order):
    left, right = derivative(order, at=joint - 1e-9), derivative(order, at=joint + 1e-9)
    assert left == pytest.approx(right, abs=1e-6)


def test_switch_is_one_inside_and_zero_outside():
    r = np.array([0.1, RCUT_SMTH, RCUT, 7.0])
    assert weight(r).tolist() == [1.0, 1.0, 0.0, 0.0]


def test_switch_is_half_in_the_middle():
    """u = 1/2 gives 1/8 (-6/4 + 15/2 - 10) + 1 = 1/2."""
    assert weight(np.array([(RCUT_SMTH + RCUT) / 2]))[0] == pytest.approx(
        0.5, abs=1e-15
    )


@pytest.mark.parametrize("protection", [0.0, 0.3])
def test_radial_slopes_are_derivatives(protection):
    r = torch.linspace(0.3, 6.5, 40, dtype=torch.float64, requires_grad=True)
    terms = radial_terms(r, rcut_smth=RCUT_SMTH, rcut=RCUT, protection=protection)
    for value, slope in ((terms.f, terms.df), (terms.h, terms.dh)):
        (expected,) = torch.autograd.grad(value.sum(), r, retain_graph=True)
        torch.testing.assert_close(slope, expected, rtol=1e-12, atol=1e-13)


def test_numpy_and_torch_agree():
    r = np.linspace(0.3, 6.5, 40)
    np.testing.assert_array_equal(weight(r), weight(torch.from_numpy(r)).numpy())
