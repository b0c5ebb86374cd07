"""Passes through fitting nets against autograd."""

import itertools

import pytest
import torch

from dpbench.kernels.activations import ACTIVATIONS
from dpbench.kernels.fitting import compiled, reference
from dpbench.kernels.fitting import packed as packed_nets
from dpbench.kernels.layers import Layer, fit

EXACT = {"rtol": 1e-11, "atol": 1e-12}
SHAPES = [(6, 8, 8, 16, 1), (5, 3, 1), (7, 1), (3, 3, 1)]


def net(widths, *, resnet_dt, dtype=torch.float64):
    generator = torch.Generator().manual_seed(7)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    layers = []
    for n_in, n_out in itertools.pairwise(widths):
        is_output = len(layers) == len(widths) - 2
        dt = resnet_dt and not is_output and n_out in (n_in, 2 * n_in)
        idt = draw(n_out) if dt else None
        w = draw(n_in, n_out) / n_in**0.5
        layers.append(Layer(w, draw(n_out), idt))
    return layers


def parameters(layers):
    return [t for layer in layers for t in layer if t is not None]


def problem(natoms, width, dtype=torch.float64):
    generator = torch.Generator().manual_seed(natoms + 100 * width)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    return draw(natoms, width), draw(natoms, width), draw(natoms)


def by_autograd(layers, name, descriptor, change, eps):
    """All results of the passes, by double backward."""
    leaves = parameters(layers)
    for leaf in leaves:
        leaf.requires_grad_()
    d = descriptor.clone().requires_grad_()
    energy = fit(d, layers, name).energy
    (grad,) = torch.autograd.grad(energy.sum(), d, create_graph=True)
    energy_dot = (grad * change).sum(1)
    grad_dot = torch.zeros_like(d)
    if energy_dot.requires_grad:
        (grad_dot,) = torch.autograd.grad(
            energy_dot.sum(), d, retain_graph=True, materialize_grads=True
        )
    loss = (eps * energy).sum() + energy_dot.sum()
    weights = torch.autograd.grad(loss, leaves, materialize_grads=True)
    for leaf in leaves:
        leaf.requires_grad_(False)
    return [t.detach() for t in (energy, grad, energy_dot, grad_dot, *weights)]


def by_passes(module, layers, name, descriptor, change, eps):
    done = module.forward(descriptor, layers, name)
    grad = module.backward(done)
    energy_dot, along = module.tangent(done, change)
    grad_dot = module.tangent_backward(done, along)
    weights = parameters(module.weight_gradients(done, along, eps))
    return [done.energy, grad, energy_dot, grad_dot, *weights]


@pytest.mark.parametrize("module", [reference, compiled])
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("resnet_dt", [False, True])
@pytest.mark.parametrize("widths", SHAPES)
def test_passes_equal_autograd(module, name, resnet_dt, widths):
    layers = net(widths, resnet_dt=resnet_dt)
    for natoms in (0, 1, 11):
        numbers = problem(natoms, widths[0])
        expected = by_autograd(layers, name, *numbers)
        found = by_passes(module, layers, name, *numbers)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, **EXACT)


@pytest.mark.parametrize("module", [reference, compiled])
@pytest.mark.parametrize("name", ["tanh", "gelu"])
@pytest.mark.parametrize("resnet_dt", [False, True])
def test_inference_equals_the_passes(module, name, resnet_dt):
    for widths in SHAPES:
        layers = net(widths, resnet_dt=resnet_dt)
        for natoms in (0, 1, 11):
            descriptor = problem(natoms, widths[0])[0]
            energy, grad = module.infer(descriptor, layers, name)
            done = reference.forward(descriptor, layers, name)
            torch.testing.assert_close(energy, done.energy, **EXACT)
            torch.testing.assert_close(grad, reference.backward(done), **EXACT)


@pytest.mark.parametrize("module", [reference, compiled])
def test_gradients_are_written_where_they_are_wanted(module):
    layers = net(SHAPES[0], resnet_dt=True)
    descriptor, change, eps = problem(11, 6)
    sizes = [t.numel() for t in parameters(layers)]
    flat = torch.full((sum(sizes),), torch.nan, dtype=torch.float64)
    parts = iter(torch.split(flat, sizes))
    views = [
        Layer(*(None if t is None else next(parts).view(t.shape) for t in layer))
        for layer in layers
    ]
    done = module.forward(descriptor, layers, "tanh")
    _, along = module.tangent(done, change)
    found = module.weight_gradients(done, along, eps, out=views)
    assert all(a.w is b.w for a, b in zip(found, views, strict=True))
    expected = by_autograd(layers, "tanh", descriptor, change, eps)[4:]
    flat_expected = torch.cat([t.reshape(-1) for t in expected])
    torch.testing.assert_close(flat, flat_expected, **EXACT)


def test_one_pass_serves_several_tangents():
    """Kalman filters ask for many products with one forward pass."""
    layers = net(SHAPES[0], resnet_dt=True)
    descriptor, change, eps = problem(11, 6)
    done = compiled.forward(descriptor, layers, "tanh")
    alongs = [compiled.tangent(done, sign * change)[1] for sign in (1, -3)]
    for sign, along in zip((1, -3), alongs, strict=True):
        expected = by_autograd(layers, "tanh", descriptor, sign * change, eps)[4:]
        found = parameters(compiled.weight_gradients(done, along, eps))
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, **EXACT)


@pytest.mark.parametrize(
    ("dtype", "limit"), [(torch.float64, 1e-13), (torch.float32, 1e-5)]
)
def test_compiled_passes_its_own_check(dtype, limit):
    assert 0 < compiled.check(dtype) < limit


def test_check_finds_a_fault(monkeypatch):
    monkeypatch.setattr(compiled, "_idt", lambda layer: layer.b)
    assert compiled.check(torch.float64) > 1e-2


def test_nan_of_one_atom_stays_with_it():
    layers = net(SHAPES[0], resnet_dt=False)
    descriptor = problem(5, 6)[0]
    descriptor[2, 3] = torch.nan
    energy, grad = compiled.infer(descriptor, layers, "tanh")
    expected = [False, False, True, False, False]
    assert torch.isnan(energy).tolist() == expected
    assert torch.isnan(grad).any(1).tolist() == expected


@pytest.mark.parametrize("module", [reference, compiled])
def test_rows_of_a_type_are_written_into_a_larger_array(module):
    for widths in SHAPES:
        layers = net(widths, resnet_dt=True)
        descriptor, change, _ = problem(11, widths[0])
        done = module.forward(descriptor, layers, "tanh")
        _, along = module.tangent(done, change)
        grad = module.backward(done).clone()
        grad_dot = module.tangent_backward(done, along).clone()
        whole = torch.zeros(2, 15, widths[0], dtype=torch.float64)
        assert module.backward(done, out=whole[0, 2:13]) is not None
        module.tangent_backward(done, along, out=whole[1, 2:13])
        assert torch.equal(whole[0, 2:13], grad)
        assert torch.equal(whole[1, 2:13], grad_dot)
        assert float(whole[:, :2].abs().max()) == float(whole[:, 13:].abs().max()) == 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("resnet_dt", [False, True])
def test_packed_nets_give_the_same(dtype, resnet_dt):
    limit = EXACT if dtype == torch.float64 else {"rtol": 1e-5, "atol": 1e-5}
    for widths in SHAPES:
        layers = net(widths, resnet_dt=resnet_dt, dtype=dtype)
        for module in (reference, compiled):
            packed = module.pack(layers)
            for natoms in (0, 1, 11, 300):
                descriptor = problem(natoms, widths[0], dtype)[0]
                for name in ("tanh", "gelu"):
                    found = module.infer(descriptor, packed, name)
                    done = reference.forward(descriptor, layers, name)
                    expected = done.energy, reference.backward(done)
                    for one, other in zip(found, expected, strict=True):
                        torch.testing.assert_close(one, other, **limit)


def test_packed_nets_do_without_onednn(monkeypatch):
    layers = net(SHAPES[0], resnet_dt=True, dtype=torch.float32)
    assert compiled.pack(layers).forward
    monkeypatch.setattr(packed_nets, "_is_at_hand", lambda: False)
    assert not compiled.pack(layers).forward
