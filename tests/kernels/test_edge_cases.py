"""The fast kernels against their references at the edges of what they take."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dpbench.errors import ModelError
from dpbench.frames import concatenate
from dpbench.kernels.inference import compiled, reference
from dpbench.kernels.neighbours import find_neighbours
from dpbench.kernels.neighbours.cell import make_lattice
from dpbench.kernels.neighbours.cpu import cell_list
from dpbench.kernels.neighbours.reference import brute_force
from dpbench.models.batching import make_batch
from dpbench.models.compressed import compress
from dpbench.train.engine import OutputWeights, Prefactors, choose_engine
from tests.kernels.edge_case_structures import (
    FEW,
    RCUT,
    model_for,
    relative,
    structures,
)
from tests.models.structures import batch_of, water

DOUBLE = 1e-9
SINGLE = 3e-4
WEIGHTS = Prefactors(energy=0.3, force=20.0, virial=0.7)


def moving(frames):
    """Coordinates, cell, periodicity and types as the evaluators take them."""
    box = np.nan_to_num(frames.box[0])
    return (
        torch.from_numpy(frames.coord.copy()),
        torch.from_numpy(box[None].copy()),
        torch.from_numpy(frames.pbc[0].copy()),
        torch.from_numpy(np.where(frames.z == 8, 0, 1)),
    )


def edges(found):
    rows = np.column_stack([found.edge_i, found.edge_j, found.shift])
    return sorted(map(tuple, rows.tolist()))


@FEW
@given(frames=structures())
def test_the_cell_list_finds_what_brute_force_finds(frames):
    lattice = make_lattice(frames.coord, frames.box[0], frames.pbc[0])
    found, expected = cell_list(lattice, RCUT), brute_force(lattice, RCUT)
    # Brute force searches among wrapped atoms; the shift goes back to those given.
    assert edges(found) == edges(expected)


@FEW
@given(
    frames=structures(),
    spare=st.integers(0, 4),
    precision=st.sampled_from(["float64", "float32"]),
)
def test_compiled_inference_agrees_with_the_reference(frames, spare, precision):
    model = model_for(frames, spare=spare, precision=precision)
    potential = compress(model)
    coord, box, pbc, atype = moving(frames)
    answers = []
    for variant in (compiled, reference):
        evaluator = variant.make_evaluator(potential, atype, nreplicas=1, skin=0.7)
        evaluator.build(coord, box, pbc)
        answers.append(evaluator.evaluate(coord, box))
    fast, slow = answers
    batch = batch_of(frames, model)
    listed = reference.make_batch_evaluator(potential.state).evaluate(batch)
    limit = DOUBLE if precision == "float64" else SINGLE
    for other in (slow, listed):
        for name in ("energy", "force", "virial", "atom_energy"):
            assert relative(getattr(fast, name), getattr(other, name)) < limit, name
    assert fast.extended == slow.extended
    assert fast.crowded == slow.crowded == 0


@FEW
@given(frames=structures())
def test_an_overfull_atom_is_counted_by_every_variant(frames):
    model = model_for(frames, spare=-1)
    coord, box, pbc, atype = moving(frames)
    counts = []
    for variant in (compiled, reference):
        evaluator = variant.make_evaluator(
            compress(model), atype, nreplicas=1, skin=0.7
        )
        evaluator.build(coord, box, pbc)
        counts.append(evaluator.evaluate(coord, box).crowded)
    sel = torch.tensor(model.config.descriptor.sel)
    batch = batch_of(frames, model)
    found = batch.row_offset.diff(dim=1)
    assert counts == [int((found > sel[:, None]).any(dim=0).sum())] * 2


@FEW
@given(frames=structures(), seed=st.integers(0, 2**31))
def test_a_list_serves_until_it_says_no(frames, seed):
    potential = compress(model_for(frames, spare=9))
    coord, box, pbc, atype = moving(frames)
    old, new = (
        compiled.make_evaluator(potential, atype, nreplicas=1, skin=0.7)
        for _ in range(2)
    )
    old.build(coord, box, pbc)
    rng = np.random.default_rng(seed)
    later = coord + torch.from_numpy(rng.uniform(-0.5, 0.5, coord.shape))
    if old.needs_build(later, box):
        return
    new.build(later, box, pbc)
    kept, fresh = old.evaluate(later, box), new.evaluate(later, box)
    assert relative(kept.force, fresh.force) < DOUBLE
    assert relative(kept.energy, fresh.energy) < DOUBLE


@FEW
@given(
    parts=st.lists(structures(most=5), min_size=1, max_size=3),
    spare=st.integers(0, 3),
    pair=st.sampled_from([("table", "autograd-table"), ("exact", "autograd")]),
)
def test_engines_agree_on_the_gradient(parts, spare, pair):
    frames = concatenate(parts)
    model = model_for(frames, spare=spare)
    batch = batch_of(frames, model)
    fast, slow = (
        choose_engine(model.config, name).losses_and_gradients(model, batch, WEIGHTS)
        for name in pair
    )
    # The two tables differ in their range and hence by the interpolation.
    limit = 1e-4 if pair[0] == "table" else 1e-8
    assert relative(fast.loss, slow.loss) < limit
    assert relative(fast.gradient, slow.gradient) < limit


# Variants of the tables interpolate between other points of the nets.
WISHES = [("passes=reference,fitting=reference", 1e-8), ("reference", 1e-5)]


@FEW
@given(
    parts=st.lists(structures(most=5), min_size=1, max_size=3),
    wish=st.sampled_from(WISHES),
)
def test_a_step_by_compiled_kernels_is_that_of_the_references(parts, wish):
    frames = concatenate(parts)
    model = model_for(frames, spare=1)
    results = []
    for variable in ("auto", wish[0]):
        batch = batch_of(frames, model)  # what is kept with a batch is made anew
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DPBENCH_KERNELS", variable)
            engine = choose_engine(model.config, "table")
            results.append(engine.losses_and_gradients(model, batch, WEIGHTS))
    fast, slow = results
    for name in ("loss", "mse_energy", "mse_force", "mse_virial", "gradient"):
        assert relative(getattr(fast, name), getattr(slow, name)) < wish[1], name


@FEW
@given(frames=structures(most=5), seed=st.integers(0, 2**31))
def test_vector_jacobians_agree(frames, seed):
    model = model_for(frames, spare=1)
    batch = batch_of(frames, model)
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    weights = OutputWeights(
        energy=draw(1), force=draw(len(frames.z), 3), virial=draw(1, 3, 3)
    )
    fast, slow = (
        choose_engine(model.config, name).vector_jacobian(model, batch, weights)
        for name in ("exact", "autograd")
    )
    assert relative(fast, slow) < 1e-8


@pytest.mark.parametrize("engine", ["table", "exact", "autograd"])
def test_an_empty_batch_has_neither_loss_nor_gradient(engine):
    model = model_for(water(), spare=2)
    batch = make_batch(water().select([]), [], model.type_map, dtype=model.dtype)
    found = choose_engine(model.config, engine).losses_and_gradients(
        model, batch, WEIGHTS
    )
    assert float(found.loss) == 0
    assert not found.gradient.any()


@FEW
@given(frames=structures(), value=st.sampled_from([np.nan, np.inf, -np.inf]))
def test_a_position_that_is_no_number_is_refused_by_name(frames, value):
    potential = compress(model_for(frames, spare=2))
    coord, box, pbc, atype = moving(frames)
    evaluator = compiled.make_evaluator(potential, atype, nreplicas=1, skin=0.7)
    evaluator.build(coord, box, pbc)
    atom = len(coord) // 2
    broken = coord.clone()
    broken[atom, 1] = value
    assert evaluator.needs_build(broken, box)
    with pytest.raises(ModelError, match=f"atom {atom} "):
        evaluator.build(broken, box, pbc)
    with pytest.raises(ValueError, match="finite"):
        find_neighbours(broken.numpy(), frames.box[0], frames.pbc[0], RCUT)


@FEW
@given(frames=structures())
def test_no_number_among_the_edges_gives_no_number(frames):
    """A NaN must not vanish in a kernel: the loss says so."""
    model = model_for(frames, spare=2)
    batch = batch_of(frames, model)
    if not len(batch.edge_vec):
        return
    batch.edge_vec[0, 2] = torch.nan
    for name in ("table", "exact", "autograd"):
        engine = choose_engine(model.config, name)
        found = engine.losses_and_gradients(model, batch, WEIGHTS)
        assert torch.isnan(found.loss), name
        assert torch.isnan(found.gradient).any(), name
