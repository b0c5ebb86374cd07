"""Moving atoms on the device: lists, forces, and what is refused."""

import numpy as np
import pytest
import torch

from dpbench.errors import ModelError
from dpbench.kernels.gpu import inference, neighbours
from dpbench.kernels.gpu.dynamics import DeviceVerlet
from dpbench.kernels.inference import reference
from dpbench.kernels.inference.trial import move_state, trial_state
from dpbench.kernels.neighbours import find_neighbours

SKEWED = np.array([[5.1, 0.0, 0.0], [1.2, 4.4, 0.0], [-0.6, 0.9, 4.8]])


class Holder:
    def __init__(self, state):
        self.state = state


def pairs_of(found, natoms):
    """Edges of a device list as rows (i, j, three images)."""
    rows = []
    for line in found.row_offset.tolist():
        for row in range(natoms):
            for edge in range(line[row], line[row + 1]):
                code = int(found.image[edge])
                image = [(code >> shift & 1023) - 512 for shift in (0, 10, 20)]
                i, j = int(found.atom_of[row]), int(found.neighbour[edge])
                taken = (found.wrap[i] - found.wrap[j]).long().tolist()
                rows.append((i, j, *(s + w for s, w in zip(image, taken, strict=True))))
    return sorted(rows)


@pytest.mark.parametrize(
    ("box", "pbc", "radius"),
    [
        (SKEWED, (True, True, True), 3.2),
        (SKEWED * [[2], [1], [1]], (True, True, False), 2.9),
        (np.full((3, 3), np.nan), (False, False, False), 4.0),
    ],
    ids=["skewed-and-small", "slab-of-several-bins", "open"],
)
def test_list_holds_the_pairs_of_the_reference(device, box, pbc, radius):
    rng = np.random.default_rng(3)
    frame = np.nan_to_num(box, nan=0) + np.where(np.isnan(box), 6 * np.eye(3), 0)
    coord = (rng.random((7, 3)) * 1.5 - 0.2) @ frame  # some outside the cell
    atype = torch.tensor([0, 1, 1, 0, 2, 1, 1], device=device)
    flags = np.array(pbc)
    cells = neighbours.complete_cells(torch.from_numpy(box[None]).to(device), flags)
    found = neighbours.build_list(
        torch.from_numpy(coord).to(device), cells, flags, atype, radius=radius, ntypes=3
    )
    expected = find_neighbours(coord, box, flags, radius)
    rows = np.column_stack([expected.edge_i, expected.edge_j, expected.shift])
    assert pairs_of(found, 7) == sorted(map(tuple, rows.tolist()))
    assert len(rows) > 7
    for t in range(3):
        line = found.row_offset[t]
        assert (atype[found.neighbour[line[0] : line[-1]].long()] == t).all()
    assert found.type_offset == (0, 2, 6, 7)


def evaluators(device, **options):
    state = trial_state(torch.float64, torch.Generator().manual_seed(1))
    atype = torch.tensor([0, 1, 1, 0, 1])
    made = inference.make_evaluator(
        Holder(move_state(state, device, torch.float64)), atype.to(device), **options
    )
    return made, reference.make_evaluator(Holder(state), atype, **options)


def five_atoms(device):
    site = torch.tensor([[0, 0, 0], [2, 0, 0.3], [0, 2, 0], [2, 2, 0], [1, 1, 2]])
    box = torch.from_numpy(SKEWED[None])
    coord = site.double() + 0.1
    pbc = torch.tensor([True, False, False])  # few images: the interpreter is slow
    return coord.to(device), box.to(device), pbc.to(device)


def same(found, expected):
    for part in ("energy", "force", "virial", "atom_energy"):
        value = getattr(expected, part)
        torch.testing.assert_close(
            getattr(found, part).cpu(), value, rtol=1e-10, atol=1e-10
        )


def test_forces_follow_atoms_and_cells_that_move_after_the_list_was_made(device):
    ours, theirs = evaluators(device, skin=0.8)
    coord, box, pbc = five_atoms(device)
    ours.build(coord, box, pbc)
    theirs.build(coord.cpu(), box.cpu(), pbc.cpu())
    moved, cell = coord + 0.05 * torch.sin(coord * 7), box * 1.01
    assert not ours.needs_build(moved, cell)
    found, expected = (
        ours.evaluate(moved, cell),
        theirs.evaluate(moved.cpu(), cell.cpu()),
    )
    same(found, expected)
    assert found.crowded == expected.crowded
    assert found.extended == expected.extended


@pytest.mark.parametrize("skin", [0.0, 0.8])
def test_list_is_outdated_when_that_of_the_reference_is(device, skin):
    ours, theirs = evaluators(device, skin=skin)
    coord, box, pbc = five_atoms(device)
    assert ours.needs_build(coord)
    ours.build(coord, box, pbc)
    theirs.build(coord.cpu(), box.cpu(), pbc.cpu())
    answers = []
    for step, scale in ((0.0, 1.0), (0.39, 1.0), (0.41, 1.0), (0.3, 0.9)):
        moved = coord.clone()
        moved[2, 1] += step
        for cell in (None, box * scale):
            answer = ours.needs_build(moved, cell)
            host = None if cell is None else cell.cpu()
            assert answer == theirs.needs_build(moved.cpu(), host)
            answers.append(answer)
    assert True in answers
    assert ours.builds == 1


def test_positions_that_are_no_numbers_are_named(device):
    ours, _ = evaluators(device)
    coord, box, pbc = five_atoms(device)
    with pytest.raises(ModelError, match="call build first"):
        ours.evaluate(coord, box)
    ours.build(coord, box, pbc)
    bad = coord.clone()
    bad[3, 0] = torch.nan
    assert ours.needs_build(bad)
    with pytest.raises(ModelError, match="atom 3 is at"):
        ours.evaluate(bad, box)
    with pytest.raises(ModelError, match="atom 3 is at"):
        ours.build(bad, box, pbc)


@pytest.mark.parametrize("cells", [300, 5000])
def test_atoms_that_drifted_apart_keep_their_neighbours(device, cells):
    ours, theirs = evaluators(device, skin=0.8)
    coord, box, pbc = five_atoms(device)
    theirs.build(coord.cpu(), box.cpu(), pbc.cpu())
    far = coord.clone()
    far[1] += cells * box[0, 0]
    far[3] -= cells * box[0, 0]
    ours.build(far, box, pbc)
    expected = theirs.evaluate(coord.cpu(), box.cpu())
    assert expected.force.abs().max() > 1e-3
    same(ours.evaluate(far, box), expected)


def test_a_cell_too_thin_for_its_images_is_refused(device):
    ours, _ = evaluators(device)
    coord, box, pbc = five_atoms(device)
    with pytest.raises(ModelError, match="thin"):
        ours.build(coord, box * torch.tensor([[1e-4], [1], [1]], device=device), pbc)


# The interpreter divides with numpy, which warns.
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_two_atoms_at_one_place_are_an_error(device):
    ours, _ = evaluators(device)
    coord, box, pbc = five_atoms(device)
    coord[1] = coord[0]
    ours.build(coord, box, pbc)
    with pytest.raises(ModelError, match="at one place"):
        ours.evaluate(coord, box)


def test_a_lone_atom_has_the_energy_of_empty_slots(device):
    state = trial_state(torch.float64, torch.Generator().manual_seed(1))
    atype = torch.tensor([1])
    coord, box = torch.zeros(1, 3).double(), torch.full((1, 3, 3), torch.nan).double()
    pbc = torch.tensor([False, False, False])
    state_there = move_state(state, device, torch.float64)
    ours = inference.make_evaluator(Holder(state_there), atype.to(device))
    theirs = reference.make_evaluator(Holder(state), atype)
    ours.build(coord.to(device), box.to(device), pbc.to(device))
    theirs.build(coord, box, pbc)
    same(ours.evaluate(coord.to(device), box.to(device)), theirs.evaluate(coord, box))


def test_verlet_on_the_device_walks_as_written_out(device):
    ours, theirs = evaluators(device, skin=0.25)
    coord, box, pbc = five_atoms(device)
    velocity = 3 * torch.cos(coord * 3)
    acceleration = torch.linspace(8, 12, 5, dtype=torch.float64, device=device)
    run = DeviceVerlet(
        ours, coord, velocity, box, pbc=pbc, acceleration=acceleration, step=0.01
    )
    run.run(4, look_every=1)
    assert ours.builds > 1
    where, speed, cell = coord.cpu(), velocity.cpu(), box.cpu()
    per_force = acceleration.cpu()[:, None]

    def forces(x):
        theirs.build(x, cell, pbc.cpu())
        return theirs.evaluate(x, cell)

    found = forces(where)
    for _ in range(4):
        speed = speed + 0.005 * found.force * per_force
        where = where + 0.01 * speed
        found = forces(where)
        speed = speed + 0.005 * found.force * per_force
    torch.testing.assert_close(run.coord.cpu(), where, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(run.velocity.cpu(), speed, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(run.energy.cpu(), found.energy, rtol=1e-9, atol=1e-9)
    kinetic = (speed**2 / per_force).sum() / 2
    torch.testing.assert_close(run.kinetic().cpu(), kinetic, rtol=1e-9, atol=1e-9)


def test_atoms_too_fast_for_the_list_stop_the_run(device):
    ours, _ = evaluators(device, skin=0.3)
    coord, box, pbc = five_atoms(device)
    run = DeviceVerlet(
        *(ours, coord, 30 * torch.ones_like(coord), box),
        pbc=pbc,
        acceleration=torch.ones(5, dtype=torch.float64, device=device),
        step=0.01,
    )
    with pytest.raises(ModelError, match="look_every"):
        run.run(1)
