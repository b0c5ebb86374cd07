"""Fitting passes, tables and Adam as Triton programs."""

import itertools

import pytest
import torch

from dpbench.kernels.fitting import reference
from dpbench.kernels.gpu import fitting, product, tables
from dpbench.kernels.gpu.optimiser import DeviceAdam
from dpbench.kernels.layers import Layer
from dpbench.kernels.tables import grid_for
from dpbench.kernels.tables import reference as tables_reference
from dpbench.train.config import OptimiserConfig
from dpbench.train.optimisers.adam import Adam

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}

DTYPES = pytest.mark.parametrize("dtype", list(TOLERANCE), ids=["f64", "f32"])


def net(widths, device, generator):
    def draw(*shape):
        values = torch.randn(shape, generator=generator, dtype=torch.float64)
        return (values / shape[0] ** 0.5).to(device)

    return [
        Layer(draw(a, b), draw(b), draw(b) if b in (a, 2 * a) else None)
        for a, b in itertools.pairwise(widths)
    ]


def fitting_results(module, layers, natoms, activation):
    generator = torch.Generator().manual_seed(2)
    device = layers[0].w.device

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(device)

    done = module.forward(draw(natoms, layers[0].w.shape[0]), layers, activation)
    grad = module.backward(done)
    energy_dot, along = module.tangent(done, draw(natoms, layers[0].w.shape[0]))
    grad_dot = module.tangent_backward(done, along)
    found = module.weight_gradients(done, along, draw(natoms))
    flat = [t for layer in found for t in layer if t is not None]
    return [done.energy, grad, energy_dot, grad_dot, *flat]


@DTYPES
def test_fitting_passes_are_those_of_the_reference(dtype):
    assert fitting.check(dtype) <= TOLERANCE[dtype]


@pytest.mark.parametrize(
    ("natoms", "activation"), [(1, "tanh"), (70, "tanh"), (33, "silu")]
)
def test_fitting_serves_any_number_of_atoms_and_activation(
    device, natoms, activation, monkeypatch
):
    monkeypatch.setattr(fitting, "FEW_ATOMS", 50)
    layers = net((6, 8, 8, 16, 1), device, torch.Generator().manual_seed(1))
    pairs = zip(
        fitting_results(fitting, layers, natoms, activation),
        fitting_results(reference, layers, natoms, activation),
        strict=True,
    )
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("precision", ["ieee", "tf32x3"])
def test_products_of_the_program_serve_a_fitting_net(device, precision):
    # The interpreter has one precision: what tf32x3 costs only a GPU can show.
    layers = net((6, 8, 8, 16, 1), device, torch.Generator().manual_seed(1))
    layers = [Layer(*(None if t is None else t.float() for t in la)) for la in layers]
    descriptor = torch.sin(torch.arange(78.0, device=device) ** 2).view(13, 6)
    found = product.infer(descriptor, layers, "tanh", products=precision)
    expected = reference.infer(descriptor, layers, "tanh")
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_a_type_without_atoms_has_no_gradient(device):
    layers = net((6, 8, 8, 1), device, torch.Generator().manual_seed(1))
    results = fitting_results(fitting, layers, 0, "tanh")
    assert [len(t) for t in results[:4]] == [0, 0, 0, 0]
    assert not any(t.any() for t in results[4:])


@DTYPES
def test_tables_and_their_adjoint_are_those_of_the_reference(dtype):
    assert tables.check(dtype) <= TOLERANCE[dtype]


def test_tables_of_other_activations_come_from_the_reference(device):
    nets = [net((1, 4, 8), device, torch.Generator().manual_seed(4))]
    ends = torch.tensor([[-0.5], [1.5]], dtype=torch.float64, device=device)
    args = nets, "gelu", grid_for(*ends, 6)
    found = tables.make_tables(*args, torch.float64)
    expected = tables_reference.make_tables(*args, torch.float64)
    assert torch.equal(found.coefficients, expected.coefficients)
    found = tables.tables_adjoint(*args, expected.coefficients)
    expected = tables_reference.tables_adjoint(*args, expected.coefficients)
    assert torch.equal(found[0][1].w, expected[0][1].w)


@DTYPES
@pytest.mark.parametrize("max_norm", [None, 5.0])
def test_adam_on_the_device_is_the_adam_of_the_trainer(device, dtype, max_norm):
    generator = torch.Generator().manual_seed(9)
    draws = torch.randn(6, 700, generator=generator, dtype=torch.float64)
    draws = draws.to(device, dtype)
    ours, theirs = draws[0].clone(), draws[0].clone()
    config = OptimiserConfig(gradient_max_norm=max_norm)
    device_adam = DeviceAdam(ours, max_norm=max_norm)
    adam = Adam(theirs, config)
    course = torch.tensor([[1e-2, 7], [5e-3, 7], [2e-3, 7], [1e-3, 7], [1e-4, 7]])
    course = course.double().to(device)
    for gradient, row in zip(draws[1:], course, strict=True):
        device_adam.step(gradient, course)
        adam.step(gradient, learning_rate=float(row[0]))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=TOLERANCE[dtype] * 1e-1)
    assert int(device_adam.count) == 5
