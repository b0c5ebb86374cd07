"""The analytic engines against autograd, over every kind of model they serve."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dpbench.errors import ConfigError
from dpbench.frames import concatenate, uniform
from dpbench.models.edge_features import TableFeatures
from dpbench.models.four_pass import OutputWeights
from dpbench.models.potential import DeepPotential
from dpbench.models.statistics import ModelStatistics
from dpbench.train.engine import Engine, LabelCounts, Prefactors, choose_engine
from tests.models import family
from tests.models.conftest import KINDS
from tests.models.structures import (
    batch_of,
    config,
    mixed,
    model,
    moved,
    statistics,
    water,
)

WEIGHTS = Prefactors(energy=0.7, force=2.0, virial=0.3)
LIMITS = {"exact": 1e-12, "table": 1e-9}


@pytest.fixture(params=KINDS)
def potential(request):
    return model(**KINDS[request.param])


def engine(name: str) -> Engine:
    return Engine(name=name, intervals=1024)


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("frames", [mixed(), water(8, natoms=1, box=None)])
def test_gradient_and_loss_equal_those_of_autograd(potential, name, frames):
    batch = batch_of(frames, potential)
    expected = engine("autograd").losses_and_gradients(potential, batch, WEIGHTS)
    found = engine(name).losses_and_gradients(potential, batch, WEIGHTS)
    scale = expected.gradient.abs().max()
    assert (found.gradient - expected.gradient).abs().max() < LIMITS[name] * scale
    for part in ("loss", "mse_energy", "mse_force", "mse_virial"):
        value = getattr(expected, part)
        torch.testing.assert_close(
            getattr(found, part), value, rtol=1e-8, atol=1e-10, equal_nan=True
        )


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("frame_numbers", "table"),
        ("frame_numbers", "exact"),
        ("atom_numbers", "table"),
        ("atom_numbers", "exact"),
        ("strip_atom_numbers", "table"),
    ],
)
def test_numbers_of_frames_and_atoms_are_served(kind, name):
    potential = family.model(kind)
    batch = batch_of(mixed(), potential)
    expected = engine("autograd").losses_and_gradients(potential, batch, WEIGHTS)
    found = engine(name).losses_and_gradients(potential, batch, WEIGHTS)
    scale = expected.gradient.abs().max()
    assert (found.gradient - expected.gradient).abs().max() < LIMITS[name] * scale
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-8, atol=1e-10)


@pytest.fixture
def unwritten_memory_is_nan():
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("unwritten_memory_is_nan")
@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("frames", [mixed(), water(8, natoms=1, box=None)])
@pytest.mark.parametrize("mean", [True, False], ids=["mean", "no mean"])
def test_every_part_of_the_gradient_is_written(name, frames, mean):
    known = statistics()
    if not mean:  # then empty slots say nothing of the nets either
        known = replace(known, davg=np.zeros_like(known.davg))
    potential = DeepPotential.initialise(config(), known, 5)
    batch = batch_of(frames, potential)
    gradient = engine(name).losses_and_gradients(potential, batch, WEIGHTS).gradient
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", LIMITS)
def test_prediction_equals_that_of_the_model(potential, name):
    batch = batch_of(mixed(), potential)
    expected = potential.energy_and_forces(batch)
    found = engine(name).predict(potential, batch)
    for part in ("energy", "force", "virial", "atom_energy"):
        value = getattr(expected, part)
        torch.testing.assert_close(getattr(found, part), value, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("name", LIMITS)
def test_vector_jacobian_equals_that_of_autograd(potential, name):
    batch = batch_of(mixed(), potential)
    generator = torch.Generator().manual_seed(3)

    def draw(like):
        return torch.randn(like.shape, generator=generator, dtype=torch.float64)

    for virial in (draw(batch.virial), None):
        weights = OutputWeights(
            energy=draw(batch.energy), force=draw(batch.force), virial=virial
        )
        expected = engine("autograd").vector_jacobian(potential, batch, weights)
        found = engine(name).vector_jacobian(potential, batch, weights)
        scale = expected.abs().max()
        assert (found - expected).abs().max() < LIMITS[name] * scale


@pytest.mark.parametrize("name", [*LIMITS, "autograd"])
def test_parts_of_a_batch_with_common_counts_add_up(name):
    potential = model()
    whole = mixed()
    batch = batch_of(whole, potential)
    expected = engine(name).losses_and_gradients(potential, batch, WEIGHTS)
    halves = [batch_of(whole.select(rows), potential) for rows in ([0, 1], [2, 3])]
    counts = LabelCounts(
        energy=batch.has_energy.sum().double(),
        force=batch.has_force[batch.frame_idx].sum().double(),
        virial=batch.has_virial.sum().double(),
    )
    parts = [
        engine(name).losses_and_gradients(potential, half, WEIGHTS, counts=counts)
        for half in halves
    ]
    total = sum(part.gradient for part in parts)
    torch.testing.assert_close(
        total, expected.gradient, rtol=1e-8, atol=1e-9 * float(total.abs().max())
    )
    torch.testing.assert_close(sum(part.loss for part in parts), expected.loss)


@pytest.mark.parametrize("name", LIMITS)
def test_a_single_precision_gradient_is_near_the_double_one(name):
    potential = model()
    single = potential.to("cpu", torch.float32)
    exact = engine("autograd").losses_and_gradients(
        potential, batch_of(mixed(), potential), WEIGHTS
    )
    near = engine(name).losses_and_gradients(single, batch_of(mixed(), single), WEIGHTS)
    scale = exact.gradient.abs().max()
    assert (near.gradient - exact.gradient).abs().max() < 1e-4 * scale


def test_the_reference_kernels_give_the_same_gradient(monkeypatch):
    potential = model()
    batch = batch_of(mixed(), potential)
    fast = engine("table").losses_and_gradients(potential, batch, WEIGHTS)
    monkeypatch.setenv("DPBENCH_KERNELS", "reference")
    plain = engine("table").losses_and_gradients(potential, batch, WEIGHTS)
    scale = float(plain.gradient.abs().max())
    torch.testing.assert_close(
        fast.gradient, plain.gradient, rtol=1e-9, atol=1e-12 * scale
    )


def test_no_edge_of_a_batch_lies_outside_its_tables(potential):
    features = TableFeatures(potential, batch_of(mixed(), potential))
    assert features._edges.extended == 0


@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_an_edge_at_the_cutoff_lies_in_its_table_in_float32(monkeypatch, kernels):
    monkeypatch.setenv("DPBENCH_KERNELS", kernels)
    ends = 4.0 - np.array([1e-6, 1e-4, 1e-3, 1e-2, 2.0])
    dimers = concatenate(
        [uniform(z=[8, 1], coord=np.array([[[0, 0, 0], [r, 0, 0]]])) for r in ends]
    )
    rng = np.random.default_rng(0)
    for _ in range(8):
        davg, dstd = rng.uniform(0.05, 0.2, (2, 2, 4))
        known = ModelStatistics(davg=davg, dstd=dstd, energy_bias=np.zeros(2))
        potential = DeepPotential.initialise(config(precision="float32"), known, 1)
        batch = batch_of(dimers, potential)
        assert TableFeatures(potential, batch, intervals=1024).extended == 0


def test_tables_depend_on_the_batch_alone_so_that_runs_can_be_repeated():
    potential = model()
    batch, other = (batch_of(water(seed), potential) for seed in (1, 2))
    first = engine("table").losses_and_gradients(potential, batch, WEIGHTS)
    engine("table").losses_and_gradients(potential, other, WEIGHTS)
    again = engine("table").losses_and_gradients(potential, batch, WEIGHTS)
    assert torch.equal(first.gradient, again.gradient)


def test_coarse_tables_are_worse_than_fine_ones():
    potential = model()
    batch = batch_of(mixed(), potential)
    exact = potential.energy_and_forces(batch).force
    errors = [
        (Engine(name="table", intervals=n).predict(potential, batch).force - exact)
        .abs()
        .max()
        for n in (8, 64)
    ]
    assert errors[0] > 100 * errors[1] > 0


def test_the_table_engine_is_the_default_where_it_serves():
    assert choose_engine(model().config).name == "table"
    assert choose_engine(model().config, "autograd").name == "autograd"


def test_an_engine_that_does_not_serve_is_an_error(monkeypatch):
    monkeypatch.setattr(
        "dpbench.train.engine.unsupported", lambda config: "no passes for it"
    )
    chosen = choose_engine(model().config)
    assert (chosen.name, chosen.reason) == ("autograd-table", "no passes for it")
    with pytest.raises(ConfigError, match=r"engine = 'table': no passes for it"):
        choose_engine(model().config, "table")


def test_tabulated_nets_under_autograd_give_the_same_gradient():
    potential = model()
    batch = batch_of(mixed(), potential)
    expected = engine("autograd").losses_and_gradients(potential, batch, WEIGHTS)
    coarse = Engine(name="autograd-table", intervals=32)  # fewer than the edges
    found = coarse.losses_and_gradients(potential, batch, WEIGHTS)
    error = (found.gradient - expected.gradient).abs().max()
    assert 0 < error < 1e-5 * expected.gradient.abs().max()


def close_pair(distance: float):
    """Two atoms that far apart amid others, Å."""
    frames = water(1)
    coord = frames.coord.copy()
    coord[1] = coord[0] + np.array([distance, 0.0, 0.0])
    return moved(frames, coord=coord)


@pytest.mark.parametrize("distance", [0.3, 0.1, 0.01])
@pytest.mark.parametrize("name", ["table", "autograd-table"])
def test_atoms_that_all_but_coincide_do_not_coarsen_the_tables(name, distance):
    potential = model()
    batch = batch_of(close_pair(distance), potential)
    expected = engine("autograd").losses_and_gradients(potential, batch, WEIGHTS)
    found = Engine(name=name).losses_and_gradients(potential, batch, WEIGHTS)
    scale = expected.gradient.abs().max()
    assert (found.gradient - expected.gradient).abs().max() < 1e-6 * scale
