"""The training seam: gradients against finite differences and plain autograd."""

import numpy as np
import pytest
import torch

from dpbench.kernels.layers import embed_reference
from dpbench.train.engine import Prefactors, losses, losses_and_gradients
from tests.models.conftest import KINDS
from tests.models.structures import batch_of, close, mixed, model

WEIGHTS = Prefactors(energy=0.7, force=2.0, virial=0.3)


@pytest.fixture(params=KINDS)
def potential(request):
    return model(**KINDS[request.param])


def test_gradient_is_the_slope_of_the_loss(potential):
    batch = batch_of(mixed(), potential)
    gradient = losses_and_gradients(potential, batch, WEIGHTS).gradient
    flat = potential.parameters.flat.clone()
    generator = torch.Generator().manual_seed(2)
    for _ in range(3):
        way = torch.randn(len(flat), generator=generator, dtype=torch.float64)
        values = {}
        for step in (1, -1, 2, -2):
            potential.parameters.flat.copy_(flat + step * 1e-5 * way)
            values[step] = float(losses(potential, batch, WEIGHTS).loss)
        potential.parameters.flat.copy_(flat)
        near, far = values[1] - values[-1], values[2] - values[-2]
        numeric = (8 * near - far) / (12 * 1e-5)
        assert float(gradient @ way) == pytest.approx(numeric, rel=1e-6, abs=1e-6)


def test_gradient_equals_that_of_plain_autograd(potential):
    batch = batch_of(mixed(), potential)
    fast = losses_and_gradients(potential, batch, WEIGHTS)
    plain = losses_and_gradients(potential, batch, WEIGHTS, embed=embed_reference)
    scale = float(plain.gradient.abs().max())
    torch.testing.assert_close(
        fast.gradient, plain.gradient, rtol=1e-10, atol=1e-12 * scale
    )
    close(fast.loss, plain.loss)


def test_loss_is_the_same_with_and_without_gradient(potential):
    batch = batch_of(mixed(), potential)
    step, plain = (f(potential, batch, WEIGHTS) for f in (losses_and_gradients, losses))
    close(step.loss, plain.loss)
    close(step.mse_virial, plain.mse_virial)


def test_parameters_are_left_alone(potential):
    before = potential.parameters.flat.clone()
    losses_and_gradients(potential, batch_of(mixed(), potential), WEIGHTS)
    assert torch.equal(potential.parameters.flat, before)
    assert not potential.parameters.flat.requires_grad


def test_no_virial_is_computed_without_its_prefactor():
    weights = Prefactors(energy=1.0, force=1.0, virial=0.0)
    potential = model()
    step = losses_and_gradients(potential, batch_of(mixed(), potential), weights)
    assert torch.isnan(step.mse_virial)


def test_zero_prefactors_give_a_zero_gradient():
    weights = Prefactors(energy=0.0, force=0.0, virial=0.0)
    potential = model()
    step = losses_and_gradients(potential, batch_of(mixed(), potential), weights)
    assert float(step.loss) == 0
    assert not step.gradient.any()


def test_steps_repeat_bit_for_bit():
    potential = model(precision="float32")
    batch = batch_of(mixed(), potential)
    first, second = (losses_and_gradients(potential, batch, WEIGHTS) for _ in range(2))
    assert torch.equal(first.gradient, second.gradient)


def test_float32_gradient_is_near_float64():
    potential = model()
    single = potential.to("cpu", torch.float32)
    exact = losses_and_gradients(potential, batch_of(mixed(), potential), WEIGHTS)
    near = losses_and_gradients(single, batch_of(mixed(), single), WEIGHTS)
    difference = near.gradient.double() - exact.gradient
    assert float(difference.norm() / exact.gradient.norm()) < 1e-4


def test_descent_lowers_the_loss():
    potential = model()
    batch = batch_of(mixed(), potential)
    history = []
    for _ in range(20):
        step = losses_and_gradients(potential, batch, WEIGHTS)
        history.append(float(step.loss))
        norm = step.gradient.norm()
        potential.parameters.flat.sub_(1e-3 * step.gradient / norm)
    assert (np.diff(history) < 0).all()
