"""Models that know more elements than a batch holds."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dpbench.models.edge_features import constants_of, layout_of, reach_of
from dpbench.models.neighbour_counts import occurring_nets, occurring_pairs
from dpbench.models.potential import DeepPotential
from dpbench.models.statistics import ModelStatistics
from dpbench.train.engine import Engine, Prefactors
from tests.models import family
from tests.models.structures import batch_of, close, water

TYPES = ("C", "O", "Si", "H", "N", "Fe")


def many(descriptor, **options) -> DeepPotential:
    cfg = replace(
        family.config("radial"),
        type_map=TYPES,
        descriptor=replace(descriptor, **options),
    )
    davg = np.zeros((6, 4))
    davg[:, 0] = np.linspace(0.05, 0.12, 6)
    dstd = np.tile(np.array([[0.14, 0.09, 0.09, 0.09]]), (6, 1))
    if descriptor.type == "se_e2_r":
        dstd[:, 1:] = 1
    known = ModelStatistics(davg=davg, dstd=dstd, energy_bias=np.arange(6.0))
    return DeepPotential.initialise(cfg, known, 3)


SEL = {"sel": (5, 40, 6, 80, 7, 8)}
MODELS = {
    "one_side": (family.SE_E2_A, SEL),
    "two_side": (family.SE_E2_A, SEL | {"type_one_side": False}),
    "radial": (family.SE_E2_R, SEL),
    "strip": (family.STRIP, {}),
}


@pytest.mark.parametrize("kind", MODELS)
def test_gradient_by_tables_is_that_of_autograd(kind):
    descriptor, options = MODELS[kind]
    potential = many(descriptor, **options)
    batch = batch_of(water(), potential)
    name = "autograd-table" if kind == "radial" else "table"
    weights = Prefactors(energy=1, force=1, virial=1)
    expected, found = (
        Engine(name=engine).losses_and_gradients(potential, batch, weights)
        for engine in ("autograd", name)
    )
    scale = float(expected.gradient.abs().max())
    assert float((found.gradient - expected.gradient).abs().max()) < 1e-7 * scale
    predicted = Engine(name=name).predict(potential, batch)
    close(predicted.force, potential.energy_and_forces(batch).force, tol=1e-8)


@pytest.mark.parametrize(("kind", "count"), [("one_side", 2), ("two_side", 4)])
def test_only_pairs_that_occur_have_fine_tables(kind, count):
    descriptor, options = MODELS[kind]
    potential = many(descriptor, **options)
    batch = batch_of(water(), potential)
    layout = layout_of(batch, constants_of(potential).net)
    r = torch.full((6, 6), torch.inf, dtype=torch.float64)
    length = torch.linalg.vector_norm(batch.edge_vec, dim=1)
    types = batch.atype[batch.edge_i] * 6 + batch.atype[batch.edge_j]
    r.view(-1).scatter_reduce_(0, types, length, "amin")
    assert layout.nframes == 1
    grid = reach_of(potential, r, intervals=1024).grid
    # More than asked for where atoms are close: no piece is coarser for it.
    pieces = grid.first.diff()
    fine = (pieces >= 1024).tolist()
    pairs = occurring_pairs(batch)
    one_sided = options.get("type_one_side", True)
    assert fine == occurring_nets(pairs, type_one_side=one_sided).tolist()
    assert sum(fine) == count
    assert int(pieces[pieces < 1024].max()) == 1024 // 32
