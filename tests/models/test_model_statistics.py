"""Statistics against independent sums, and their merging."""

from dataclasses import replace

import numpy as np
import pytest

from dpbench.errors import ModelError
from dpbench.frames import concatenate, uniform
from dpbench.models.neighbour_counts import (
    neighbour_counts,
    occurring_nets,
    occurring_pairs,
)
from dpbench.models.statistics import (
    descriptor_statistics,
    energy_normal,
    environment_moments,
    number_moments,
)
from tests.models import family
from tests.models.structures import (
    batch_of,
    config,
    mixed,
    model,
    neighbours_of,
    water,
)


def padded_rows(frames, cfg):
    """Environment rows per atom with all slots written out, by plain loops."""
    d = cfg.descriptor
    rows = {0: [], 1: []}
    for index, found in enumerate(neighbours_of(frames, d.rcut)):
        span = frames.atoms_of(index)
        coord, kinds = frames.coord[span], np.where(frames.z[span] == 8, 0, 1)
        box = np.nan_to_num(frames.box[index])
        for atom, kind in enumerate(kinds):
            slots = np.zeros((sum(d.sel), 4))
            filled = 0
            for e in np.flatnonzero(found.edge_i == atom):
                pair = {int(kind), int(kinds[found.edge_j[e]])}
                if any(pair == set(excluded) for excluded in d.exclude_types):
                    continue
                image = coord[found.edge_j[e]] + found.shift[e] @ box
                vector = image - coord[atom]
                r = np.linalg.norm(vector)
                u = min(max((r - d.rcut_smth) / (d.rcut - d.rcut_smth), 0), 1)
                w = u**3 * (-6 * u**2 + 15 * u - 10) + 1
                slots[filled] = [w / r, *(w * vector / r**2)]
                filled += 1
            rows[int(kind)].append(slots)
    return rows


@pytest.mark.parametrize("exclude_types", [(), ((0, 1),)])
def test_mean_and_deviation_pool_all_slots(exclude_types):
    cfg = config(exclude_types=exclude_types, sel=(30, 50))
    frames = mixed()
    davg, dstd = environment_moments(
        frames, neighbours_of(frames, cfg.descriptor.rcut), cfg
    ).finish()
    for kind, slots in padded_rows(frames, cfg).items():
        values = np.array(slots)
        np.testing.assert_allclose(davg[kind, 0], values[..., 0].mean(), rtol=1e-12)
        np.testing.assert_allclose(dstd[kind, 0], values[..., 0].std(), rtol=1e-12)
        # The three angular columns are pooled, about their pooled mean.
        np.testing.assert_allclose(dstd[kind, 1:], values[..., 1:].std(), rtol=1e-12)
    assert not davg[:, 1:].any()


def test_moments_of_shards_add_up():
    cfg, frames = config(), mixed()
    found = neighbours_of(frames, cfg.descriptor.rcut)
    whole = environment_moments(frames, found, cfg)
    parts = [
        environment_moments(frames.select([i]), [found[i]], cfg)
        for i in range(frames.nframes)
    ]
    merged = parts[0] + parts[1] + parts[2] + parts[3]
    np.testing.assert_array_equal(merged.count, whole.count)
    np.testing.assert_allclose(merged.squares, whole.squares, rtol=1e-13)


def test_absent_types_and_tiny_spreads_are_protected():
    frames = uniform(z=[8], coord=np.zeros((1, 1, 3)))
    davg, dstd = environment_moments(
        frames, neighbours_of(frames, 4.0), config()
    ).finish()
    assert dstd.tolist() == [[0.01] * 4, [0.1] * 4]
    assert not davg.any()


def test_mean_can_be_left_zero():
    frames = water()
    moments = environment_moments(frames, neighbours_of(frames, 4.0), config())
    assert not moments.finish(set_davg_zero=True)[0].any()
    assert moments.finish()[0].any()


def test_energy_bias_is_the_least_squares_solution():
    frames = concatenate([water(i, natoms=3 + i % 4) for i in range(12)])
    normal = energy_normal(frames, ("O", "H"))
    bias, rank, rmse = normal.solve()
    counts = [
        [(frames.z[frames.atoms_of(i)] == z).sum() for z in (8, 1)] for i in range(12)
    ]
    matrix = np.array(counts, dtype=float)
    expected = np.linalg.lstsq(matrix, frames.energy, rcond=None)[0]
    residual = (frames.energy - matrix @ expected) / matrix.sum(axis=1)
    np.testing.assert_allclose(bias, expected, rtol=1e-12)
    assert rank == 2
    assert rmse == pytest.approx(np.sqrt((residual**2).mean()), rel=1e-9)


def test_degenerate_composition_takes_least_norm():
    """Water alone: E = n_O b_O + n_H b_H has its shortest solution along (1, 2)."""
    frames = uniform(
        z=[8, 1, 1], coord=np.zeros((2, 3, 3)), energy=np.array([-10.0, -10.0])
    )
    bias, rank, rmse = energy_normal(frames, ("O", "H")).solve()
    np.testing.assert_allclose(bias, [-2.0, -4.0], rtol=1e-13)
    assert (rank, rmse) == (1, pytest.approx(0, abs=1e-12))


def test_energy_sums_merge_without_loss_of_digits():
    """Residuals of 1e-5 eV on top of -3e4 eV survive the merging."""
    energy = -30000 + 1e-5 * np.array([1.0, -1.0, 3.0, -3.0])
    frames = uniform(z=[8, 1, 1], coord=np.zeros((4, 3, 3)), energy=energy)
    shards = [energy_normal(frames.select([i]), ("O", "H")) for i in range(4)]
    merged = (shards[0] + shards[1]) + (shards[2] + shards[3])
    assert merged.count.tolist() == [4]
    assert merged.solve()[2] == pytest.approx(np.sqrt(5) * 1e-5 / 3, rel=1e-5)


def test_unlabelled_energies_do_not_count():
    frames = uniform(z=[8], coord=np.zeros((2, 1, 3)), energy=np.array([np.nan, -4.0]))
    assert energy_normal(frames, ("O",)).solve()[0].tolist() == [-4.0]


def test_neighbour_counts_are_the_largest():
    coord = np.array([[[0.0, 0, 0], [0.9, 0, 0], [0, 1.5, 0], [30, 0, 0]]])
    frames = uniform(z=[8, 1, 1, 8], coord=coord)
    counts = neighbour_counts(frames, neighbours_of(frames, 4.0), ("O", "H"))
    assert counts.most.tolist() == [1, 2]
    assert counts.min_distance == pytest.approx(0.9)
    lone = frames.select([])
    assert (counts + neighbour_counts(lone, [], ("O", "H"))).most.tolist() == [1, 2]


def test_unknown_element_is_an_error():
    with pytest.raises(ModelError, match="element H"):
        energy_normal(water(), ("O",))


def test_neighbours_are_counted_within_each_cutoff():
    frames, found = mixed(), neighbours_of(mixed(), 4.0)
    counts = neighbour_counts(frames, found, ("O", "H"), cutoffs=(4.0, 2.5))
    assert counts.within[0, :2].tolist() == counts.most.tolist()
    near = neighbour_counts(frames, neighbours_of(frames, 2.5), ("O", "H"))
    assert counts.within[1, :2].tolist() == near.most.tolist()
    total = max(
        int(np.bincount(one.edge_i, minlength=1).max(initial=0)) for one in found
    )
    assert counts.within[0, 2] == total
    assert counts.within[0, 2] <= counts.within[0, :2].sum()


def test_pairs_that_occur_are_those_of_the_edges():
    """H far from everything but one O: no pair of two H, or of two O."""
    coord = np.array([[[0.0, 0, 0], [0.9, 0, 0]]])
    frames = uniform(z=[8, 1], coord=coord)
    counts = neighbour_counts(frames, neighbours_of(frames, 4.0), ("O", "H"))
    expected = [[False, True], [True, False]]
    assert counts.pairs.tolist() == expected
    batch = batch_of(frames, model())
    assert occurring_pairs(batch).tolist() == expected
    one_way = np.array([[False, True], [False, False]])  # an O that sees H alone
    assert occurring_nets(one_way, type_one_side=True).tolist() == [False, True]
    assert occurring_nets(one_way, type_one_side=False).tolist() == [
        False,
        False,
        True,  # centre 0 + neighbour 1 * 2 types
        False,
    ]


@pytest.mark.parametrize("kind", family.DESCRIPTORS)
def test_statistics_of_a_kind_are_those_of_its_parts(kind):
    cfg, frames = family.config(kind), mixed()
    moments = environment_moments(frames, neighbours_of(frames, 4.0), cfg)
    davg, dstd = descriptor_statistics(moments, cfg)
    parts = cfg.descriptor.parts
    davg, dstd = (array.reshape(len(parts), 2, 4) for array in (davg, dstd))
    for index, part in enumerate(parts):
        plain = config(
            sel=(part.slots, 0), rcut=part.rcut, exclude_types=part.exclude_types
        )
        found = neighbours_of(frames, part.rcut)
        mean, deviation = environment_moments(frames, found, plain).finish(
            set_davg_zero=part.set_davg_zero
        )
        if part.type == "se_e2_r":
            deviation[:, 1:] = 1
        np.testing.assert_allclose(davg[index], mean, rtol=1e-12)
        np.testing.assert_allclose(dstd[index], deviation, rtol=1e-12)


@pytest.mark.parametrize("kind", ["radial", "hybrid"])
def test_slots_can_be_known_later(kind):
    cfg, frames = family.config(kind), mixed()
    found = neighbours_of(frames, 4.0)
    whole = environment_moments(frames, found, cfg)
    slots = [part.slots for part in cfg.descriptor.parts]
    divisor = np.array(slots)[:, np.newaxis] if len(slots) > 1 else slots[0]
    atoms = replace(whole, count=whole.count // divisor)
    before = descriptor_statistics(whole, cfg)
    after = descriptor_statistics(atoms, cfg, counts_atoms=True)
    np.testing.assert_array_equal(before, after)


def test_numbers_of_frames_have_a_smallest_deviation():
    values = np.array([[300.0, 1.0], [320.0, 1.0]])
    assert number_moments(values).scale().tolist() == [[310.0, 1.0], [10.0, 0.01]]
