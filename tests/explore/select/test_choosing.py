"""Budgets, twins and diversity: what is labelled, and why the rest is not."""

import numpy as np
import pytest

from dpbench.explore.select.choosing import WHY, choose
from dpbench.explore.select.diversity import described, descriptors
from dpbench.explore.select.judging import judge
from dpbench.explore.select.picking import thinned
from dpbench.explore.select.settings import SelectSettings
from dpbench.frames import concatenate, empty
from tests.explore.select.tables import crystals, table


def chosen(force, frames, *, known=None, tried=None, seed=0, **more):
    told = {
        name: more.pop(name) for name in ("structure", "walk", "atoms") if name in more
    }
    settings = SelectSettings(**({"force": (0.1, 0.3)} | more))
    return choose(
        judge(table(force, **told), settings),
        frames,
        settings=settings,
        known=known,
        tried=tried,
        seed=seed,
    )


def of_structures(force, structure, frames, **more):
    settings = SelectSettings(**({"force": (0.1, 0.3)} | more))
    return choose(
        judge(table(force, structure=structure), settings), frames, settings=settings
    )


def test_every_frame_has_a_reason_and_the_counts_add_up():
    frames = crystals(40)
    force = np.linspace(0, 0.4, 40)
    got = chosen(force, frames, most=5)
    assert sum(got.counts.values()) == 40
    assert set(got.counts) <= set(WHY)
    assert got.counts["chosen"] == len(got.indices) == got.frames.nframes == 5
    assert (got.reasons[got.indices] == "chosen").all()


def test_without_any_candidate_nothing_is_chosen_and_nothing_lost():
    got = chosen([0.0, 0.5], crystals(2))
    assert not len(got.indices)
    assert got.counts == {"accurate": 1, "failed": 1}


def test_without_any_frame_nothing_is_chosen():
    got = chosen([], empty())
    assert not len(got.indices)
    assert got.counts == {}


def test_failed_frames_are_rescued_where_nothing_is_a_candidate():
    got = chosen([0.5, 0.4, np.nan, 0.9], crystals(4), rescue=2, pick="largest")
    assert sorted(got.indices.tolist()) == [0, 1]
    assert got.rescued == 2
    assert got.counts == {"chosen": 2, "failed": 1, "unknown": 1}


def test_rescue_is_not_used_while_there_are_candidates():
    got = chosen([0.5, 0.2], crystals(2), rescue=2)
    assert got.indices.tolist() == [1]
    assert got.rescued == 0


def test_what_is_labelled_already_is_not_chosen_again_in_any_description():
    frames = crystals(4)
    known = frames.select([2])
    shuffled = known.select([0])
    order = np.array([1, 0, 3, 2])
    shuffled.coord[:] = known.coord[order] + 4.0  # cell vectors of 4 Å
    got = chosen([0.2] * 4, frames, known=shuffled)
    assert got.reasons.tolist() == ["chosen", "chosen", "labelled", "chosen"]


def test_what_could_not_be_labelled_is_not_tried_again():
    frames = crystals(3)
    got = chosen([0.2] * 3, frames, tried=frames.select([1]))
    assert got.reasons.tolist() == ["chosen", "tried", "chosen"]


def test_of_twins_the_one_of_the_largest_deviation_stays():
    frames = crystals(2)
    got = chosen([0.15, 0.2, 0.25], frames.select([0, 1, 0]))
    assert got.reasons.tolist() == ["twin", "chosen", "chosen"]


def test_many_equal_frames_leave_one():
    frames = crystals(1).select([0] * 6)
    got = chosen([0.2] * 6, frames)
    assert got.counts == {"chosen": 1, "twin": 5}


def test_broken_frames_are_left_out_and_told():
    frames = crystals(3)
    frames.coord[1] = np.nan  # an atom of the first frame
    frames.box[2] = np.outer([1, 1, 1], [4.0, 0, 0])
    got = chosen([0.2] * 3, frames)
    assert got.reasons.tolist() == ["broken", "chosen", "broken"]


def test_the_farthest_frame_is_taken_each_time():
    near = crystals(20, amplitude=0.01)
    far = crystals(3, amplitude=0.6, seed=9)
    frames = concatenate([near, far])
    got = chosen([0.2] * 23, frames, known=near.select([0]), most=3)
    assert sorted(got.indices.tolist()) == [20, 21, 22]
    assert list(got.distance) == sorted(got.distance, reverse=True)


def test_farthest_points_cover_better_than_chance():
    frames = crystals(200, amplitude=0.3)
    points = descriptors(described(frames))

    def farthest(indices):
        gaps = np.linalg.norm(points[:, None] - points[indices][None], axis=2)
        return gaps.min(axis=1).max()

    diverse = farthest(chosen([0.2] * 200, frames, most=10).indices)
    drawn = [
        farthest(chosen([0.2] * 200, frames, most=10, pick="random", seed=s).indices)
        for s in range(5)
    ]
    assert diverse < min(drawn)


def test_near_ones_are_left_out_whatever_the_pick():
    frames = crystals(30, amplitude=0.01)
    for pick in ("diverse", "largest", "random", "even"):
        got = chosen([0.2] * 30, frames, near=1.0, pick=pick)
        assert got.counts == {"chosen": 1, "near": 29}


def test_the_largest_deviation_goes_first():
    force = [0.11, 0.29, 0.2]
    got = chosen(force, crystals(3), pick="largest", most=2)
    assert got.indices.tolist() == [1, 2]
    assert got.counts == {"budget": 1, "chosen": 2}


def test_drawing_depends_on_the_seed_alone():
    frames = crystals(60)
    force = np.linspace(0.1, 0.29, 60)
    for pick in ("random", "even"):
        one = chosen(force, frames, pick=pick, most=10, seed=3).indices.tolist()
        assert one == chosen(force, frames, pick=pick, most=10, seed=3).indices.tolist()
        assert one != chosen(force, frames, pick=pick, most=10, seed=4).indices.tolist()


def test_even_picks_rare_deviations_as_often_as_common_ones():
    force = np.array([0.1] * 190 + [0.29] * 10)
    frames = crystals(200)
    rare = [
        (chosen(force, frames, pick="even", most=10, seed=s).indices >= 190).sum()
        for s in range(8)
    ]
    assert 3 < np.mean(rare) < 7


@pytest.mark.parametrize(
    ("accurate", "expected"),
    [(0.0, 10), (0.49, 10), (0.5, 10), (0.6, 7), (0.9, 0), (0.91, 0), (1.0, 0)],
)
def test_fewer_frames_are_taken_the_more_are_accurate(accurate, expected):
    settings = SelectSettings(thin_from=0.5, thin_to=0.9)
    assert thinned(10, accurate, settings) == expected


def test_one_threshold_alone_is_a_step():
    settings = SelectSettings(thin_to=0.9)
    assert [thinned(10, x, settings) for x in (0.89, 0.9, 0.91)] == [10, 0, 0]


def test_a_thinned_structure_says_so():
    frames = crystals(10)
    force = [0.0] * 7 + [0.2] * 3
    got = of_structures(force, ["fcc"] * 10, frames, most=4, thin_from=0.5, thin_to=0.9)
    assert thinned(4, 0.7, SelectSettings(thin_from=0.5, thin_to=0.9)) == 2
    assert got.counts == {"accurate": 7, "chosen": 2, "thinned": 1}


def test_each_structure_has_a_budget_and_all_have_one():
    frames = crystals(9)
    names = ["a"] * 6 + ["b"] * 3
    got = of_structures([0.2] * 9, names, frames, most=5, most_of_structure=4)
    counts = [sum(np.array(names)[got.indices] == n) for n in "ab"]
    assert sum(counts) == 5
    assert max(counts) <= 4


def test_too_few_candidates_of_a_structure_are_left():
    got = of_structures([0.2] * 4, ["a", "a", "a", "b"], crystals(4), least=2)
    assert got.reasons.tolist() == ["chosen"] * 3 + ["few"]


def test_a_cluster_is_cut_around_each_candidate_atom():
    frames = crystals(1)
    got = chosen(
        [0.25],
        frames,
        atoms=[[0.0, 0.2, 0.25, 0.5]],
        cluster=3.4,
        pick="largest",
    )
    assert got.indices.tolist() == [0, 0]
    assert got.atoms is not None
    assert got.atoms.tolist() == [2, 1]
    assert not got.frames.pbc.any()
    assert got.counts == {"chosen": 1}
    for i in range(2):
        coord = got.frames.coord[got.frames.atoms_of(i)]
        # Twelve neighbours of an fcc crystal at about 2.83 Å, images and all.
        assert len(coord) == 13
        assert np.linalg.norm(coord[1:] - coord[0], axis=1).max() <= 3.4


def test_frames_and_verdicts_must_be_as_many():
    with pytest.raises(ValueError, match="expected 2, one a verdict"):
        chosen([0.2, 0.2], crystals(3))
