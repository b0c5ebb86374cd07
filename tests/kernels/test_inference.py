"""The compiled inference kernels against plain torch."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dpbench.errors import ModelError
from dpbench.kernels.inference import compiled, cpu, reference
from dpbench.kernels.inference.blocks import blocks_of
from dpbench.kernels.inference.packed import pack_layers, packed_columns
from dpbench.kernels.inference.trial import largest_error, move_state, trial_state
from dpbench.kernels.layers import Layer, fit, fit_adjoint

EXACT = 1e-12
SINGLE = 2e-5
PBC = torch.tensor([True, True, True])


class Model:
    """A model with random weights, as the kernels take it."""

    def __init__(self, dtype=torch.float64, **changes):
        generator = torch.Generator().manual_seed(3)
        state = move_state(trial_state(torch.float64, generator), "cpu", dtype)
        self.state = replace(state, **changes)


def crystal(ncells, seed=0):
    """Atoms of two types near the sites of a cubic lattice, 2 Å apart."""
    rng = np.random.default_rng(seed)
    site = np.stack(np.meshgrid(*3 * [np.arange(ncells)], indexing="ij"), axis=-1)
    coord = 2.0 * site.reshape(-1, 3) + rng.uniform(-0.3, 0.3, (ncells**3, 3))
    box = 2.0 * ncells * np.eye(3) + rng.uniform(-0.4, 0.4, (3, 3))
    atype = rng.integers(0, 2, len(coord))
    return torch.from_numpy(coord), torch.from_numpy(box)[None], torch.tensor(atype)


def answers(evaluator, coord, box, pbc=PBC):
    evaluator.build(coord, box, pbc)
    return evaluator.evaluate(coord, box)


def compare(one, other, tol):
    for name in ("energy", "force", "virial", "atom_energy"):
        torch.testing.assert_close(
            getattr(one, name), getattr(other, name), rtol=tol, atol=tol
        )
    assert (one.extended, one.crowded) == (other.extended, other.crowded)


@pytest.mark.parametrize(
    ("dtype", "limit"), [(torch.float64, EXACT), (torch.float32, SINGLE)]
)
def test_the_check_passes(dtype, limit):
    assert compiled.check(dtype) < limit


@pytest.mark.parametrize("fault", ["table", "mask", "bias", "net"])
def test_the_check_finds_a_fault(fault):
    def make(holder, atype, **options):
        state = holder.state
        if fault == "table":
            wrong = state.tables.coefficients.clone()
            wrong[:, 1] *= 1.001
            changes = {"tables": replace(state.tables, coefficients=wrong)}
        elif fault == "mask":
            changes = {"is_seen": np.ones((2, 2), dtype=bool)}
        elif fault == "bias":
            changes = {"energy_bias": state.energy_bias + 1e-3}
        else:
            changes = {"net": state.net.T.copy()}
        holder = Model()
        holder.state = replace(state, **changes)
        return compiled.make_evaluator(holder, atype, **options)

    assert largest_error(make, torch.float64) > 1e-5


@pytest.mark.parametrize("name", ["forward_parallel", "backward_parallel"])
def test_the_check_finds_a_fault_that_only_threads_have(name, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert compiled.check(torch.float64) < EXACT
    monkeypatch.setattr(cpu, name, lambda *_: None)
    assert not compiled.check(torch.float64) < 1e-5
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert compiled.check(torch.float64) < EXACT


@pytest.mark.parametrize("ncells", [1, 2, 9])
def test_both_variants_agree(ncells):
    """From one atom among its own images to two blocks of atoms of a type."""
    coord, box, atype = crystal(ncells)
    found = [
        answers(variant.make_evaluator(Model(), atype, skin=0.5), coord, box)
        for variant in (compiled, reference)
    ]
    compare(*found, EXACT)
    if ncells == 9:
        most = int(torch.bincount(atype).max())
        assert len(list(blocks_of([0, most]))) == 2


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_nothing(threads):
    coord, box, atype = crystal(5)
    alone, shared = (
        answers(compiled.ListedEvaluator(Model(), atype, nthreads=n), coord, box)
        for n in (1, threads)
    )
    compare(alone, shared, EXACT)


@pytest.mark.parametrize("variant", [compiled, reference])
def test_replicas_do_not_see_each_other(variant):
    parts = [crystal(3, seed) for seed in (1, 2, 3)]
    atype = parts[0][2]
    coord = torch.cat([part[0] for part in parts])
    box = torch.cat([part[1] for part in parts])
    both = answers(variant.make_evaluator(Model(), atype, nreplicas=3), coord, box)
    for r, part in enumerate(parts):
        one = answers(variant.make_evaluator(Model(), atype), *part[:2])
        rows = slice(27 * r, 27 * (r + 1))
        torch.testing.assert_close(both.energy[r : r + 1], one.energy)
        torch.testing.assert_close(both.force[rows], one.force)
        torch.testing.assert_close(both.virial[r : r + 1], one.virial)


@pytest.mark.parametrize("variant", [compiled, reference])
def test_a_list_lasts_until_it_says_no(variant):
    coord, box, atype = crystal(3)
    evaluator = variant.make_evaluator(Model(), atype, skin=0.8)
    assert evaluator.needs_build(coord, box)
    evaluator.build(coord, box, PBC)
    rng = np.random.default_rng(5)
    for _ in range(40):
        coord = coord + torch.from_numpy(rng.uniform(-0.06, 0.06, coord.shape))
        box = box * 1.001
        if evaluator.needs_build(coord, box):
            evaluator.build(coord, box, PBC)
        found = evaluator.evaluate(coord, box)
        fresh = answers(variant.make_evaluator(Model(), atype, skin=0.0), coord, box)
        compare(found, fresh, EXACT)
    assert 1 < evaluator.builds < 40


@pytest.mark.parametrize("variant", [compiled, reference])
def test_a_lost_atom_is_named(variant):
    coord, box, atype = crystal(2)
    evaluator = variant.make_evaluator(Model(), atype)
    evaluator.build(coord, box, PBC)
    coord[5, 1] = float("nan")
    assert evaluator.needs_build(coord, box)
    with pytest.raises(ModelError, match="atom 5 is at"):
        evaluator.evaluate(coord, box)


def test_coinciding_atoms_are_named():
    coord, box, atype = crystal(2)
    coord[6] = coord[2]
    with pytest.raises(ModelError, match=r"atoms [26] and [26] are at one place"):
        answers(compiled.make_evaluator(Model(), atype), coord, box)


def test_weights_that_are_no_numbers_are_told_from_bad_positions():
    model = Model(energy_bias=np.array([np.nan, 0.0]))
    with pytest.raises(ModelError, match="energy: is not finite though all positions"):
        answers(compiled.make_evaluator(model, crystal(2)[2]), *crystal(2)[:2])


@pytest.mark.parametrize("variant", [compiled, reference])
def test_close_pairs_and_crowded_atoms_are_counted(variant):
    """Two atoms 0.15 Å apart: s = 1 / r is beyond the table, in both directions."""
    coord = torch.tensor([[0.0, 0, 0], [0.15, 0, 0], [0, 2.5, 0]]).double()
    atype, box = torch.tensor([0, 0, 1]), torch.eye(3).double()[None]
    state = Model().state
    model = Model(sel=(1, 1), davg=0 * state.davg)
    evaluator = variant.make_evaluator(model, atype)
    found = answers(evaluator, coord, box, torch.zeros(3, dtype=torch.bool))
    assert found.extended == 2
    assert found.crowded == 1  # the third atom has two neighbours of type 0
    assert bool(torch.isfinite(found.force).all())


def test_the_straight_continuation_conserves_energy():
    """Force is the derivative of energy beyond the table, too."""
    atype, box = torch.tensor([0, 1]), torch.eye(3).double()[None]
    evaluator = compiled.make_evaluator(Model(), atype)
    step = 1e-6

    def at(r):
        coord = torch.tensor([[0.0, 0, 0], [r, 0, 0]], dtype=torch.float64)
        return answers(evaluator, coord, box, torch.zeros(3, dtype=torch.bool))

    assert at(0.12).extended > 0
    slope = (at(0.12 + step).energy - at(0.12 - step).energy) / (2 * step)
    assert float(at(0.12).force[1, 0]) == pytest.approx(-float(slope), rel=1e-6)


def test_evaluation_without_a_list_is_refused():
    coord, box, atype = crystal(2)
    for variant in (compiled, reference):
        with pytest.raises(ModelError, match="call build first"):
            variant.make_evaluator(Model(), atype).evaluate(coord, box)


@pytest.mark.parametrize(("channels", "axis"), [(6, 1), (6, 4), (6, 6)])
def test_packing_keeps_what_the_fitting_net_says(channels, axis):
    generator = torch.Generator().manual_seed(1)

    def random(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    layers = [
        Layer(random(channels * axis, 5), random(5), None),
        Layer(random(5, 5), random(5), random(5)),
        Layer(random(5, 1), random(1), None),
    ]
    moment = random(7, 4, channels)
    full = (moment.transpose(1, 2) @ moment[:, :, :axis]).flatten(1)
    columns = packed_columns(channels, axis)
    packed = pack_layers(layers, channels, axis)
    plain, slim = fit(full, layers, "tanh"), fit(full[:, columns], packed, "tanh")
    torch.testing.assert_close(slim.energy, plain.energy, rtol=1e-13, atol=1e-13)
    assert len(columns) == channels * axis - axis * (axis - 1) // 2
    # The same change of the energy along any change of the moments.
    dot = random(7, 4, channels)
    change = dot.transpose(1, 2) @ moment[:, :, :axis]
    change = (change + moment.transpose(1, 2) @ dot[:, :, :axis]).flatten(1)
    along = (fit_adjoint(plain, layers, "tanh") * change).sum(1)
    slim_along = (fit_adjoint(slim, packed, "tanh") * change[:, columns]).sum(1)
    torch.testing.assert_close(slim_along, along, rtol=1e-12, atol=1e-12)
