"""The training step on the device against the engine on the CPU."""

from dataclasses import replace

import pytest
import torch

from dpbench.errors import ModelError
from dpbench.frames import concatenate
from dpbench.kernels.gpu.frames import bucket_of
from dpbench.kernels.gpu.optimiser import DeviceAdam
from dpbench.kernels.gpu.packed import Packed
from dpbench.kernels.gpu.training import DeviceStep
from dpbench.models.gpu_training import grid_for_batches, step_model
from dpbench.train.config import OptimiserConfig
from dpbench.train.engine import Engine, Prefactors
from dpbench.train.optimisers.adam import Adam
from tests.models.structures import batch_of, model, water

INTERVALS = 12  # the interpreter runs one program for each
WEIGHTS = Prefactors(energy=0.7, force=2.0, virial=0.3)
COURSE = [[1e-3, 0.7, 2.0, 0.3], [5e-4, 0.9, 1.5, 0.2]]
KINDS = {
    "two_side": {"type_one_side": False, "resnet_dt": True},
    "excluded": {"exclude_types": ((0, 1),), "fitting": {"resnet_dt": False}},
}


@pytest.fixture(autouse=True)
def same_tables(monkeypatch):
    """Variants of the tables interpolate otherwise: alike on fine grids only."""
    monkeypatch.setenv("DPBENCH_KERNELS", "tables=reference")


def frames():
    """A cell, and an atom without neighbours whose force is not labelled."""
    return concatenate([water(1, natoms=5), water(4, natoms=1, box=None)])


def device_step(potential, batches, device, **options):
    moved = potential.to(device)
    grid = grid_for_batches(moved, batches, intervals=INTERVALS)
    course = torch.tensor(COURSE, dtype=torch.float64, device=device)
    adam = DeviceAdam(moved.parameters.flat)
    return DeviceStep(step_model(moved, grid), adam, course, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_and_losses_are_those_of_the_cpu_engine(device, kind):
    potential = model(**KINDS[kind])
    batch = batch_of(frames(), potential)
    batch.has_force[1] = False
    step = device_step(potential, [batch], device, with_virial=True, remembered=4)
    step.evaluate(*step.pack(batch.to(device, potential.dtype)))
    engine = Engine(name="table", intervals=INTERVALS)
    expected = engine.losses_and_gradients(potential, batch, WEIGHTS)
    found = step.model.gradient.cpu()
    scale = expected.gradient.abs().max()
    assert (found - expected.gradient).abs().max() <= 1e-10 * scale
    names = ("loss", "mse_energy", "mse_force", "mse_virial")
    values = torch.stack([getattr(expected, name) for name in names])
    torch.testing.assert_close(step.ring[0].cpu(), values, rtol=1e-10, atol=1e-12)


def test_two_steps_train_as_the_engine_and_its_adam_do(device):
    potential = model(precision="float32", set_davg_zero=True)
    batches = [batch_of(water(seed, natoms=4), potential) for seed in (1, 2)]
    step = device_step(potential, batches, device, remembered=2)
    start = potential.parameters.flat.clone()
    for batch in batches:
        step.step(*step.pack(batch.to(device, potential.dtype)))
    grid_batches = {"intervals": INTERVALS}
    engine = Engine(name="table", **grid_batches)
    adam = Adam(potential.parameters.flat, OptimiserConfig())
    losses = []
    for batch, (rate, energy, force, _) in zip(batches, COURSE, strict=True):
        weights = Prefactors(energy=energy, force=force, virial=0.0)
        result = engine.losses_and_gradients(potential, batch, weights)
        losses.append(result.loss)
        adam.step(result.gradient, learning_rate=rate)
    change = (potential.parameters.flat - start).abs().max()
    difference = step.model.flat.cpu() - potential.parameters.flat
    # Tables of twelve pieces over two ranges: not the same, but nearly.
    assert difference.abs().max() <= 2e-2 * change
    torch.testing.assert_close(
        step.ring[:, 0].cpu(), torch.stack(losses), rtol=1e-3, atol=0
    )
    assert torch.isnan(step.ring[:, 3]).all() or not step.ring[:, 3].any()
    assert int(step.optimiser.count) == 2


def test_batches_of_one_bucket_share_their_arrays(device):
    potential = model()
    batches = [batch_of(water(seed, natoms=6), potential) for seed in (1, 2)]
    buckets = [bucket_of(batch) for batch in batches]
    assert buckets[0].atom_type_offset == buckets[1].atom_type_offset
    assert all(
        b.capacity >= len(a.edge_i) for a, b in zip(batches, buckets, strict=True)
    )
    assert all(
        b.capacity <= max(1.25 * len(a.edge_i), 64)
        for a, b in zip(batches, buckets, strict=True)
    )


def test_a_pair_of_atoms_has_a_bucket():
    potential = model()
    pair = batch_of(water(1, natoms=2, box=None), potential)
    pair = replace(pair, edge_i=pair.edge_i[:1])
    assert bucket_of(pair).capacity == 64


def test_edges_beyond_the_grid_are_refused(device):
    potential = model()
    near, far = (batch_of(water(s, natoms=4), potential) for s in (1, 2))
    near.edge_vec[:] *= 0.5
    step = device_step(potential, [far], device)
    with pytest.raises(ValueError, match="beyond the tables' grid"):
        step.pack(near.to(device, potential.dtype))


def test_embeddings_that_are_not_tanh_are_refused_with_a_way_out():
    potential = model(activation_function="silu")
    grid = grid_for_batches(potential, [], intervals=INTERVALS)
    with pytest.raises(ModelError, match="--engine autograd"):
        step_model(potential, grid)


def test_packed_arrays_keep_their_numbers_and_refuse_another_layout(device):
    arrays = {
        "a": torch.arange(5, dtype=torch.int32, device=device),
        "b": torch.rand(3, 2, dtype=torch.float64, device=device),
    }
    packed = Packed.of(arrays, device)
    other = Packed(packed.fields, device)
    other.copy_from(packed)
    for name, array in arrays.items():
        assert torch.equal(other.views[name], array)
    with pytest.raises(ValueError, match="different layout"):
        other.copy_from(Packed.of({"a": arrays["a"]}, device))
