"""The Triton passes give what the reference gives."""

from dataclasses import replace

import pytest
import torch

from dpbench.kernels.gpu import passes, plan
from dpbench.kernels.passes import reference
from dpbench.kernels.passes.trial import make_trial, run_trial

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}

DTYPES = pytest.mark.parametrize("dtype", list(TOLERANCE), ids=["f64", "f32"])


def assert_same(found, expected, dtype):
    for name, value in expected.items():
        scale = value.abs().max()
        assert scale > 0, f"{name} is nowhere checked"
        assert found[name].dtype == value.dtype
        assert (found[name] - value).abs().max() <= TOLERANCE[dtype] * scale, name


@DTYPES
def test_every_pass_is_that_of_the_reference(device, dtype):
    trial = make_trial(dtype, device=device)
    assert_same(run_trial(passes, trial), run_trial(reference, trial), dtype)


def test_passes_hold_with_masked_pairs_and_nets_per_pair_of_types(device):
    trial = make_trial(torch.float64, device=device)
    mask = torch.tensor([[1.0, 0.0], [1.0, 1.0]], dtype=torch.float64, device=device)
    layout = replace(trial.layout, net=torch.tensor([[0, 1], [1, 0]], device=device))
    trial = trial._replace(normal=replace(trial.normal, mask=mask), layout=layout)
    found, expected = run_trial(passes, trial), run_trial(reference, trial)
    assert_same(found, expected, torch.float64)
    first, last = layout.row_offset[1, 0], layout.row_offset[1, 3]
    assert found["rows"][first:last].abs().max() == 0


def test_edges_beyond_the_table_are_counted(device):
    trial = make_trial(torch.float64, device=device)
    args = trial.edge_vec, trial.layout, trial.normal, trial.tables
    found, expected = passes.prepare(*args), reference.prepare(*args)
    assert found.extended == expected.extended > 0
    assert torch.equal(found.interval, expected.interval)


def test_nan_reaches_the_atoms_that_see_it_and_no_other(device):
    trial = make_trial(torch.float64, device=device)
    vec = trial.edge_vec.clone()
    vec[0] = torch.nan
    edges = passes.prepare(vec, trial.layout, trial.normal, trial.tables)
    bad = torch.isnan(passes.moments(edges, trial.layout, trial.tables))
    assert bad.flatten(1).any(dim=1).tolist() == [True, False, False, False, False]


def test_no_edges_give_zero(device):
    trial = make_trial(torch.float64, device=device)
    none = trial.edge_vec.new_zeros(0).long()
    layout = replace(
        trial.layout,
        row_offset=torch.zeros_like(trial.layout.row_offset),
        edge_i=none,
        edge_j=none,
        edge_row=none,
    )
    empty = trial._replace(layout=layout, edge_vec=trial.edge_vec[:0])
    found = run_trial(passes, empty)
    for name in ("moments", "force", "virial", "tangent_moments", "adjoint"):
        assert found[name].numel()
        assert not found[name].any()


def test_long_intervals_are_cut_into_runs_that_hold_each_edge_once(device):
    generator = torch.Generator().manual_seed(3)
    interval = torch.randint(0, 5, (500,), generator=generator)
    interval[100:400] = 2
    interval = interval.to(device, torch.int32)
    first = torch.tensor([0, 2, 4], device=device)
    step = torch.tensor([0.5, 0.25], dtype=torch.float64, device=device)
    runs = plan.make_runs(interval, step, first, intervals=8)
    seen = []
    for k in range(len(runs.start)):
        edges = runs.order[runs.start[k] : runs.stop[k]].long()
        assert len(edges) <= 64
        owners = interval[edges].unique()
        assert len(owners) == (len(edges) > 0)
        if len(edges):
            owner = int(owners)
            assert runs.offset[owner] <= k < runs.offset[owner + 1]
            # Interval 4 is the line below net 0, which starts behind the pieces.
            assert runs.inverse[k] == (2.0 if owner < 2 or owner == 4 else 4.0)
        seen += edges.tolist()
    assert sorted(seen) == list(range(500))


def test_check_finds_a_planted_fault(device, monkeypatch):
    assert passes.check(torch.float64) < 1e-12
    right = passes.adjoint
    monkeypatch.setattr(passes, "adjoint", lambda *args: right(*args) * 1.001)
    assert passes.check(torch.float64) > 1e-4
