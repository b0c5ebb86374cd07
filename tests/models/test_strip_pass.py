"""DPA-1 by analytic passes with a table, against autograd with the exact net."""

import numpy as np
import pytest
import torch

from dpbench.errors import ConfigError, ModelError
from dpbench.frames import concatenate, uniform
from dpbench.kernels.strip import compiled, reference
from dpbench.models.four_pass import OutputWeights
from dpbench.models.strip_pass import StripPass
from dpbench.train.engine import Engine, Prefactors, choose_engine
from tests.models import family, structures
from tests.models.structures import batch_of, close, mixed, moved, water

KINDS = [kind for kind in family.DESCRIPTORS if kind.startswith("strip")]
ALL = Prefactors(energy=1, force=1, virial=1)


@pytest.fixture(params=KINDS)
def potential(request):
    return family.model(request.param)


def lone():
    """An atom without neighbours among frames with some."""
    alone = uniform(
        z=[1],
        coord=np.zeros((1, 1, 3)),
        energy=np.zeros(1),
        force=np.zeros((1, 1, 3)),
    )
    hydrogen = water(5, natoms=4)
    return concatenate([alone, moved(hydrogen, z=np.full(4, 1, dtype=np.uint8))])


@pytest.mark.parametrize("frames", [water, mixed, lone])
def test_gradient_is_that_of_autograd(potential, frames):
    batch = batch_of(frames(), potential)
    expected = Engine(name="autograd").losses_and_gradients(potential, batch, ALL)
    found = Engine(name="table").losses_and_gradients(potential, batch, ALL)
    assert float(found.loss) == pytest.approx(float(expected.loss), rel=1e-9)
    scale = float(expected.gradient.abs().max())
    assert float((found.gradient - expected.gradient).abs().max()) < 1e-9 * scale


def test_predictions_are_those_of_the_exact_net(potential):
    batch = batch_of(mixed(), potential)
    found = Engine(name="table").predict(potential, batch)
    expected = potential.energy_and_forces(batch)
    for name in ("energy", "force", "virial", "atom_energy"):
        close(getattr(found, name), getattr(expected, name), tol=1e-9)


def test_coarse_tables_are_told_from_fine_ones(potential):
    """The table is used: with few pieces the forces are visibly off."""
    batch = batch_of(water(), potential)
    exact = potential.energy_and_forces(batch).force
    errors = []
    for intervals in (2, 32):
        with torch.no_grad():
            found = StripPass(
                potential, batch, with_virial=False, intervals=intervals
            ).prediction
        errors.append(float((found.force - exact).abs().max()))
    assert errors[0] > 30 * errors[1] > 0


def test_vector_jacobian_is_linear_in_its_weights(potential):
    batch = batch_of(mixed(), potential)
    generator = torch.Generator().manual_seed(2)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    natoms, nframes = len(batch.atype), batch.nframes
    weights = OutputWeights(
        energy=draw(nframes), force=draw(natoms, 3), virial=draw(nframes, 3, 3)
    )
    found = Engine(name="table").vector_jacobian(potential, batch, weights)
    expected = Engine(name="autograd").vector_jacobian(potential, batch, weights)
    scale = float(expected.abs().max())
    assert float((found - expected).abs().max()) < 1e-9 * scale


def test_float32_is_near_float64(potential):
    frames = mixed()
    double = Engine(name="table").losses_and_gradients(
        potential, batch_of(frames, potential), ALL
    )
    single = potential.to("cpu", torch.float32)
    found = Engine(name="table").losses_and_gradients(
        single, batch_of(frames, single), ALL
    )
    assert found.gradient.dtype == torch.float32
    scale = float(double.gradient.abs().max())
    difference = (found.gradient.double() - double.gradient).abs().max()
    assert float(difference) < 1e-3 * scale


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_compiled_passes_equal_the_reference(dtype):
    assert compiled.check(dtype) < (1e-12 if dtype == torch.float64 else 1e-5)


def test_a_planted_fault_is_found_by_the_check(monkeypatch):
    plain = reference.edge_gradient
    monkeypatch.setattr(
        reference, "edge_gradient", lambda *args: plain(*args) * (1 + 1e-6)
    )
    assert compiled.check(torch.float64) > 1e-7


def test_engines_that_serve_are_chosen():
    strip = family.config("strip")
    assert choose_engine(strip).name == "table"
    assert choose_engine(family.config("hybrid")).name == "autograd-table"
    with pytest.raises(ConfigError, match="se_e2_a alone"):
        choose_engine(strip, "exact")


def test_other_kinds_are_refused():
    potential = structures.model()
    with pytest.raises(ModelError, match="se_e2_a"):
        StripPass(potential, batch_of(water(), potential), with_virial=False)
