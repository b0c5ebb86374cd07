"""Nets and tables of any shape: compiled kernels against references and the nets."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dpbench.kernels.activations import ACTIVATIONS
from dpbench.kernels.fitting import compiled as fast_fitting
from dpbench.kernels.fitting import reference as slow_fitting
from dpbench.kernels.layers import Layer, embed_reference
from dpbench.kernels.tables import compiled as fast_tables
from dpbench.kernels.tables import evaluate, grid_for
from dpbench.kernels.tables import reference as slow_tables
from tests.kernels.edge_case_structures import FEW, relative

DTYPES = {torch.float64: 1e-10, torch.float32: 2e-4}
SMOOTH = ("tanh", "gelu", "softplus", "sigmoid", "silu", "linear")


@st.composite
def nets(draw: st.DrawFn, *, inputs: int, outputs: int | None, dtype: torch.dtype):
    """Layers of any widths, with shortcuts where they fit, with and without steps."""
    widths = [inputs, *draw(st.lists(st.sampled_from([1, 3, 6, 12]), max_size=3))]
    widths.append(outputs or draw(st.sampled_from([1, 5, 16, 24])))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    size = draw(st.sampled_from([0.3, 1.0, 8.0]))

    def numbers(*shape):
        return (size * torch.randn(shape, generator=generator)).to(dtype)

    with_step = draw(st.booleans())
    found = []
    for a, b in pairwise(widths):
        is_shortcut = b in (a, 2 * a)
        idt = numbers(b) if with_step and is_shortcut else None
        found.append(Layer(numbers(a, b) / a**0.5, numbers(b), idt))
    return found


@FEW
@given(data=st.data())
def test_fitting_passes_agree_for_any_net_and_any_number_of_atoms(data):
    dtype = data.draw(st.sampled_from(list(DTYPES)))
    inputs = data.draw(st.sampled_from([1, 7, 32]))
    layers = data.draw(nets(inputs=inputs, outputs=1, dtype=dtype))
    atoms = data.draw(st.sampled_from([0, 1, 2, 33]))
    name = data.draw(st.sampled_from(sorted(ACTIVATIONS)))
    generator = torch.Generator().manual_seed(atoms)
    # Large descriptors drive the net to where it is flat.
    scale = data.draw(st.sampled_from([0.1, 1.0, 1e3]))
    x, dot = (
        (scale * torch.randn(atoms, inputs, generator=generator)).to(dtype)
        for _ in range(2)
    )
    eps = torch.randn(atoms, generator=generator).to(dtype)
    answers = []
    for module in (fast_fitting, slow_fitting):
        done = module.forward(x, layers, name)
        grad = module.backward(done)
        energy_dot, along = module.tangent(done, dot)
        grad_dot = module.tangent_backward(done, along)
        found = module.weight_gradients(done, along, eps)
        flat = [t for layer in found for t in layer if t is not None]
        inferred = module.infer(x, layers, name)
        answers.append([done.energy, grad, energy_dot, grad_dot, *flat, *inferred])
    for one, other in zip(*answers, strict=True):
        assert one.shape == other.shape
        # Far from zero an activation's slope is all rounding: judge by the largest.
        assert relative(one, other) < DTYPES[dtype]


@FEW
@given(data=st.data())
def test_tables_read_as_their_nets_inside_and_beyond(data):
    dtype = torch.float64
    name = data.draw(st.sampled_from(SMOOTH))
    layers = data.draw(nets(inputs=1, outputs=None, dtype=dtype))
    low = data.draw(st.floats(-2, 2))
    span = data.draw(st.sampled_from([0.0, 1e-6, 0.5, 3.0]))
    ends = torch.tensor([low, low + span], dtype=dtype)
    grid = grid_for(ends[:1], ends[1:], 700)
    s = torch.linspace(low, low + span, 41, dtype=dtype)
    exact, exact_slope = embed_reference(s, layers, name)
    for module in (fast_tables, slow_tables):
        tables = module.make_tables([layers], name, grid, dtype)
        read = evaluate(tables, 0, s)
        assert read.outside == 0
        # A steep net (weights of size 8) bends within an interval.
        assert relative(read.value, exact) < 1e-3
        reach = grid.lower + 700 * grid.step
        below, above = grid.lower - 5.0, reach + 5.0
        for end, beyond in ((grid.lower, below), (reach, above)):
            at, out = (evaluate(tables, 0, place) for place in (end, beyond))
            assert out.outside == 1
            straight = at.value + at.slope * (beyond - end)[:, None]
            assert relative(out.value, straight) < 1e-6
            # Slopes of a grid that one distance makes are differences of rounding.
            size = at.slope.abs().max() + at.value.abs().max()
            assert float((out.slope - at.slope).abs().max()) < 1e-6 * size
    assert exact_slope.shape == exact.shape


@FEW
@given(data=st.data())
def test_nets_that_do_not_occur_leave_the_others_as_they_are(data):
    dtype = data.draw(st.sampled_from(list(DTYPES)))
    layers = data.draw(nets(inputs=1, outputs=5, dtype=dtype))
    place = data.draw(st.integers(0, 2))
    low = torch.full((3,), torch.inf, dtype=torch.float64)
    high = -low
    low[place], high[place] = -0.3, 1.1
    grid = grid_for(low, high, 60)
    alone = grid_for(low[place : place + 1], high[place : place + 1], 60)
    generator = torch.Generator().manual_seed(place)
    for module in (fast_tables, slow_tables):
        many = module.make_tables([layers] * 3, "tanh", grid, dtype)
        one = module.make_tables([layers], "tanh", alone, dtype)
        s = torch.linspace(-0.5, 1.3, 19, dtype=torch.float64)
        found, expected = evaluate(many, place, s), evaluate(one, 0, s)
        assert torch.equal(found.value, expected.value)
        gradient = torch.randn(many.coefficients.shape, generator=generator).to(dtype)
        back = module.tables_adjoint([layers] * 3, "tanh", grid, gradient)
        own = torch.cat([gradient[:60], gradient[60 + 2 * place :][:2]])
        (mine,) = module.tables_adjoint([layers], "tanh", alone, own)
        for index, found_layers in enumerate(back):
            for layer, expected_layer in zip(found_layers, mine, strict=True):
                for t, e in zip(layer, expected_layer, strict=True):
                    if t is not None and index == place:
                        assert torch.equal(t, e)
                    elif t is not None:
                        assert not t.any()


@pytest.mark.parametrize("module", [fast_tables, slow_tables])
def test_a_net_with_a_nan_gives_a_table_of_nan(module):
    w = torch.tensor([[0.3, torch.nan, 0.2]], dtype=torch.float64)
    layers = [Layer(w, torch.zeros(3, dtype=torch.float64), None)]
    grid = grid_for(torch.zeros(1), torch.ones(1), 20)
    tables = module.make_tables([layers], "tanh", grid, torch.float64)
    read = evaluate(tables, 0, torch.tensor([0.5], dtype=torch.float64))
    assert torch.isnan(read.value).tolist() == [[False, True, False]]
