"""Physics that every potential must satisfy."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from dpbench.errors import ModelError
from dpbench.frames import uniform
from dpbench.models.se_e2_a import descriptor_forward
from tests.models import family
from tests.models.conftest import KINDS
from tests.models.structures import (
    BOX,
    batch_of,
    close,
    mixed,
    model,
    moved,
    predict,
    water,
)


@pytest.fixture(params=[*KINDS, *family.FAMILY])
def potential(request):
    """A model of every kind."""
    if request.param in KINDS:
        return model(**KINDS[request.param])
    return family.model(request.param)


def energy(frames, potential):
    return predict(frames, potential).energy


def slope(function, h=2e-4):
    """Derivative at zero by a stencil of fourth order."""
    near = function(h) - function(-h)
    far = function(2 * h) - function(-2 * h)
    return (8 * near - far) / (12 * h)


@pytest.mark.parametrize("box", [BOX, None])
def test_force_is_minus_energy_gradient(potential, box):
    frames = water(box=box)
    force = predict(frames, potential).force
    for atom, axis in [(0, 0), (1, 2), (4, 1), (8, 0)]:

        def at(step, atom=atom, axis=axis):
            coord = frames.coord.copy()
            coord[atom, axis] += step
            return float(energy(moved(frames, coord=coord), potential))

        expected = pytest.approx(-slope(at), rel=1e-6, abs=1e-6)
        assert float(force[atom, axis]) == expected


def test_virial_is_minus_energy_strain_derivative(potential):
    frames = water()
    virial = predict(frames, potential).virial[0]
    for a, b in [(0, 0), (1, 1), (0, 2), (2, 1)]:

        def at(step, a=a, b=b):
            strain = np.eye(3)
            strain[a, b] += step
            coord, box = frames.coord @ strain, frames.box @ strain
            return float(energy(moved(frames, coord=coord, box=box), potential))

        expected = pytest.approx(-slope(at), rel=1e-6, abs=1e-6)
        assert float(virial[a, b]) == expected


def test_virial_is_symmetric_and_forces_sum_to_zero(potential):
    found = predict(water(), potential)
    close(found.virial, found.virial.transpose(1, 2))
    close(found.force.sum(0), torch.zeros(3, dtype=torch.float64))


def test_rotation_turns_forces_and_keeps_energy(potential):
    frames = water()
    turn = Rotation.from_rotvec([0.4, -1.1, 0.7]).as_matrix()
    turned = moved(frames, coord=frames.coord @ turn.T, box=frames.box @ turn.T)
    before, after = predict(frames, potential), predict(turned, potential)
    close(after.energy, before.energy)
    close(after.force, before.force @ torch.from_numpy(turn.T))


def test_translation_changes_nothing(potential):
    frames = water()
    shifted = moved(frames, coord=frames.coord + np.array([3.3, -20.1, 7.7]))
    close(predict(shifted, potential).force, predict(frames, potential).force)


def test_permutation_permutes(potential):
    frames = water()
    order = np.array([7, 3, 0, 8, 1, 2, 6, 5, 4])
    permuted = moved(frames, coord=frames.coord[order], z=frames.z[order])
    before, after = predict(frames, potential), predict(permuted, potential)
    close(after.energy, before.energy)
    close(after.force, before.force[order])
    close(after.atom_energy, before.atom_energy[order])


def test_wrapped_equals_unwrapped(potential):
    frames = water()
    jumps = np.random.default_rng(1).integers(-3, 4, frames.coord.shape)
    unwrapped = moved(frames, coord=frames.coord + jumps @ BOX)
    before, after = predict(frames, potential), predict(unwrapped, potential)
    close(after.energy, before.energy)
    close(after.virial, before.virial)


def test_small_cell_equals_its_supercell(potential):
    """In a 2.4 Å cell each atom sees several images of itself and of the other."""
    box = np.array([[2.4, 0, 0], [0.5, 2.6, 0], [0.1, -0.3, 2.5]])
    coord = np.array([[0.1, 0.2, 0.3], [1.4, 1.1, 1.2]])
    images = [(a, b, c) for a in range(2) for b in range(2) for c in range(2)]
    everywhere = np.concatenate([coord + np.array(n) @ box for n in images])
    small = uniform(z=[8, 1], coord=coord[None], box=box[None])
    large = uniform(z=[8, 1] * 8, coord=everywhere[None], box=2 * box[None])
    one, eight = predict(small, potential), predict(large, potential)
    close(eight.energy, 8 * one.energy)
    close(eight.force, one.force.repeat(8, 1))
    close(eight.virial, 8 * one.virial)


def test_isolated_atom_has_energy_and_no_force(potential):
    frames = water(natoms=1, box=None)
    found = predict(frames, potential)
    assert found.force.tolist() == [[0.0, 0.0, 0.0]]
    far = uniform(z=[8, 1], coord=np.array([[[0.0, 0, 0], [0, 0, 50.0]]]))
    close(predict(far, potential).atom_energy[0], found.energy[0])


def test_energy_is_twice_smooth_at_the_cutoff():
    """A neighbour enters at rcut: E, its slope and its curvature stay put."""
    potential, rcut, step = model(), 4.0, 1e-3

    def at(r):
        coord = np.array([[[0.0, 0, 0], [1.1, 0.3, 0], [0, 0, r]]])
        return predict(uniform(z=[8, 1, 1], coord=coord), potential)

    outside = at(rcut + step)
    close(at(rcut - 1e-9).energy, outside.energy)
    inside = [float(at(rcut - k * step).force[2, 2]) for k in (1, 2)]
    assert float(outside.force[2, 2]) == 0
    # A force that starts as (rcut - r)^2 falls fourfold at half the distance.
    assert abs(inside[0]) < 1e-4
    assert inside[1] / inside[0] == pytest.approx(4, rel=0.05)


def test_more_neighbours_than_slots_stay_smooth():
    potential = model(sel=(1, 1))
    frames = water()
    assert max(batch_of(frames, potential).most_neighbours) > 1
    coord = frames.coord.copy()
    coord[0] += 1e-7
    change = energy(moved(frames, coord=coord), potential) - energy(frames, potential)
    assert abs(float(change)) < 1e-5


def test_batch_equals_one_by_one(potential):
    frames = mixed()
    together = predict(frames, potential)
    for index in range(frames.nframes):
        alone = predict(frames.select([index]), potential)
        rows = frames.atoms_of(index)
        close(together.energy[index], alone.energy[0])
        close(together.force[rows], alone.force)
        close(together.virial[index], alone.virial[0])
        close(together.atom_energy[rows], alone.atom_energy)


def test_atom_energies_add_up(potential):
    frames = mixed()
    found = predict(frames, potential)
    sums = [found.atom_energy[frames.atoms_of(i)].sum() for i in range(frames.nframes)]
    close(found.energy, torch.stack(sums))


def test_float32_is_near_float64(potential):
    frames = mixed()
    exact = predict(frames, potential)
    single = predict(frames, potential.to("cpu", torch.float32))
    assert single.energy.dtype == torch.float64
    torch.testing.assert_close(single.energy, exact.energy, rtol=0, atol=2e-4)
    torch.testing.assert_close(single.force, exact.force, rtol=1e-3, atol=5e-4)


def test_padding_enters_the_energy():
    """Beside the divisor (32 against 52 slots), empty slots count as rows."""
    frames = water()
    with_padding, without = [], []
    for potential in (model(sel=(12, 20)), model(sel=(12, 40))):
        batch = batch_of(frames, potential)
        env = potential._environment(batch)
        for empty_rows, results in (
            (potential._empty_rows, with_padding),
            (None, without),
        ):
            done = descriptor_forward(
                potential.parameters.views, batch, env, potential.config, empty_rows
            )
            results.append(done.x)
    close(without[0] * 32, without[1] * 52)
    assert not torch.allclose(with_padding[0] * 32, with_padding[1] * 52, rtol=0.01)


def test_excluded_pairs_do_not_see_each_other():
    potential = model(exclude_types=((0, 1),), set_davg_zero=True)
    near = uniform(z=[8, 1], coord=np.array([[[0.0, 0, 0], [0, 0, 1.0]]]))
    assert predict(near, potential).force.abs().max() == 0


def test_unknown_element_is_named():
    frames = moved(water(), z=np.full(9, 14, dtype=np.uint8))
    with pytest.raises(ModelError, match=r"element Si .* types O, H"):
        predict(frames, model())


def test_same_seed_gives_same_model():
    first, second, third = model(1), model(1), model(2)
    assert torch.equal(first.parameters.flat, second.parameters.flat)
    assert not torch.equal(first.parameters.flat, third.parameters.flat)


def test_start_values_have_the_spread_of_deepmd_kit():
    """W ~ N(0, 1/sqrt(n_in + n_out)), b ~ N(0, 1), idt ~ N(0.1, 0.001)."""
    views = model(neuron=(25, 50, 100), axis_neuron=16).parameters.views
    w, b = views["fitting.0.0.w"], views["embedding.1.2.b"]
    assert float(w.std()) == pytest.approx(1 / np.sqrt(1600 + 10), rel=0.02)
    assert float(b.std()) == pytest.approx(1, rel=0.2)
    assert float(views["fitting.0.1.idt"].mean()) == pytest.approx(0.1, abs=1e-3)
    assert "fitting.0.0.idt" not in views
    assert "fitting.0.3.idt" not in views


def test_views_share_the_flat_buffer():
    parameters = model().parameters
    parameters.flat.zero_()
    assert all((view == 0).all() for view in parameters.views.values())
    assert sum(v.numel() for v in parameters.views.values()) == len(parameters.flat)
