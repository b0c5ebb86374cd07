"""The moves of molecular dynamics: compiled against plain torch."""

import math

import pytest
import torch

from dpbench.kernels.motion import compiled, moves_for, reference


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def test_compiled_moves_are_those_of_torch():
    assert 0 < compiled.check(torch.float64) < 1e-14


def test_a_planted_fault_is_found(monkeypatch):
    right = compiled.drift
    monkeypatch.setattr(compiled, "drift", lambda x, v, dt: right(x, v, 1.001 * dt))
    assert compiled.check(torch.float64) > 1e-5


@pytest.mark.parametrize("name", ["kick_drift", "drift", "chain_half"])
def test_a_planted_nan_is_found(name, monkeypatch):
    """In the first move that is checked, in one between, and in the last."""
    right = getattr(compiled, name)

    def wrong(*arguments):
        right(*arguments)
        (arguments[-1] if name == "chain_half" else arguments[0]).view(-1)[0] = math.nan

    monkeypatch.setattr(compiled, name, wrong)
    assert math.isnan(compiled.check(torch.float64))


@pytest.mark.parametrize("moves", [compiled, reference])
@pytest.mark.parametrize("place", [(0, 0, 0), (1, 4, 2)])
def test_a_place_that_is_no_number_is_far_away(moves, place):
    coord = draw(2, 5, 3)
    origin, out = coord.clone(), torch.zeros(2, dtype=torch.float64)
    coord[place] = math.nan
    eye = torch.eye(3, dtype=torch.float64).expand(2, 3, 3)
    moves.farthest(coord, origin, eye, out)
    assert math.isnan(out[place[0]])
    assert float(out[1 - place[0]]) == 0


@pytest.mark.parametrize("moves", [compiled, reference])
def test_a_force_that_is_no_number_reaches_the_kinetic_energy(moves):
    velocity, force, mass = draw(2, 5, 3), draw(2, 5, 3, seed=1), torch.ones(5).double()
    kinetic = torch.zeros(2, 3, 3, dtype=torch.float64)
    force[1, 3, 0] = math.nan
    moves.kick_measure(velocity, force, mass, mass, kinetic)
    assert math.isnan(kinetic[1, 0, 0])
    assert torch.isfinite(kinetic[0]).all()


@pytest.mark.parametrize("moves", [compiled, reference])
def test_chains_are_reversible(moves):
    """Half a step, rates turned around, half a step, is where it began."""
    position, rate = draw(3, 4), draw(3, 4, seed=2)
    begin = position.clone()
    twice = draw(3, seed=3).exp()
    constants = torch.tensor([6.0, 1.0, 1.0, 1.0], dtype=torch.float64), 0.8, 6.0
    first, second = torch.ones(3).double(), torch.ones(3).double()
    weights = (0.3, -0.1, 0.3)
    moves.chain_half(twice, (position, rate), constants, weights, first)
    assert float((position - begin).abs().min()) > 1e-3
    rate.neg_()
    moves.chain_half(twice * first**2, (position, rate), constants, weights, second)
    torch.testing.assert_close(position, begin, rtol=0, atol=1e-12)
    torch.testing.assert_close(first * second, torch.ones(3).double())


def test_the_environment_variable_chooses(monkeypatch):
    monkeypatch.setenv("DPBENCH_KERNELS", "motion=reference")
    assert moves_for(torch.device("cpu")) is reference
    monkeypatch.setenv("DPBENCH_KERNELS", "auto")
    assert moves_for(torch.device("cpu")) is compiled
